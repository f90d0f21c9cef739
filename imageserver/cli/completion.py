"""Scripts that complete the commands in bash, zsh and fish, written from the parsers."""

import argparse
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from imageserver.cli.flags.parser import PROGRAM, CommandParser, commands_below, flags_of

Commands = Sequence[tuple[tuple[str, ...], CommandParser]]
# Also what people type in a checkout.
NAMES = (PROGRAM, "qwen_image_server.py")

BASH = """\
_qwen_image_server() {
    local word=${COMP_WORDS[COMP_CWORD]} path= each
    for each in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$path $each" in
%s) path="$path $each" ;;
        esac
    done
    case "$path ${COMP_WORDS[COMP_CWORD-1]}" in
%s    esac
    case "$path" in
%s    esac
    [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))
}
complete -o filenames -F _qwen_image_server %s
"""


def bash(parser: CommandParser) -> str:
    """Return the script for bash."""
    every = _commands(parser)
    known = "|".join(f"            {_pattern(path)}" for path, _ in every if path).lstrip()
    values = "".join(
        f"        {_pattern((*path, name))}) COMPREPLY=($(compgen -W {shlex.quote(' '.join(map(str, choices)))} "
        '-- "$word")); return ;;\n'
        for path, each in every
        for name, choices in _choices(each)
    )
    words = "".join(
        f'        {_pattern(path)}) COMPREPLY=($(compgen -W {shlex.quote(" ".join(_words(each)))} -- "$word")) ;;\n'
        for path, each in every
    )
    return BASH % (f"            {known}", values, words, " ".join(NAMES))


def zsh(parser: CommandParser) -> str:
    """Return the script for zsh, which understands that of bash."""
    return f"autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n{bash(parser)}"


def fish(parser: CommandParser) -> str:
    """Return the script for fish."""
    return "".join(f"{line}\n" for name in NAMES for line in _fish_lines(name, parser))


def _fish_lines(program: str, parser: CommandParser) -> Iterator[str]:
    for path, each in _commands(parser):
        below = commands_below(each)
        # The words of this command were typed, and none of those below it.
        conditions = [f"__fish_seen_subcommand_from {word}" for word in path]
        conditions += [f"not __fish_seen_subcommand_from {' '.join(below)}"] if below else []
        begin = f"complete -c {program}" + (f" -n {shlex.quote('; and '.join(conditions))}" if conditions else "")
        for name in below:
            yield f"{begin} -f -a {name}"
        for action in flags_of(each):
            names = [f"-l {name[2:]}" for name in action.option_strings if name.startswith("--")]
            names += [f"-s {name[1:]}" for name in action.option_strings if not name.startswith("--")]
            values = f" -x -a {shlex.quote(' '.join(map(str, action.choices)))}" if action.choices else ""
            if names or values:
                yield f"{begin} {' '.join(names)}{values or _fish_value(action)}".rstrip()


def _fish_value(action: argparse.Action) -> str:
    return "" if action.nargs == 0 else " -r"


def _commands(parser: CommandParser, path: tuple[str, ...] = ()) -> Commands:
    """Return every command with the words that name it, those below it included."""
    found = [(path, parser)]
    for name, below in commands_below(parser).items():
        found += _commands(below, (*path, name))
    return found


def _pattern(path: Sequence[str]) -> str:
    """Return how a path of words stands in a `case`: each with a blank before it."""
    return shlex.quote("".join(f" {word}" for word in path))


def _words(parser: CommandParser) -> list[str]:
    """Return what may follow a command."""
    positional = [
        str(each) for action in flags_of(parser) if not action.option_strings for each in action.choices or ()
    ]
    return [
        *commands_below(parser),
        *positional,
        *(name for action in flags_of(parser) for name in action.option_strings),
    ]


def _choices(parser: CommandParser) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the flags of a command whose values are known."""
    for action in flags_of(parser):
        if action.choices:
            yield from ((name, list(action.choices)) for name in action.option_strings)


SHELLS: Mapping[str, Callable[[CommandParser], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
