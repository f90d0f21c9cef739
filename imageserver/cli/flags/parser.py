"""The parser of all commands: short help with an example, and every flag with `--help-all`."""

import argparse
import importlib
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Protocol, cast

from imageserver import __version__
from imageserver.cli.failure import WRONG_USAGE

PROGRAM = "qwen-image-server"
HELP_WIDTH = 100
# Each is a file of `commands`.
COMMANDS: Mapping[str, str] = {
    "serve": "serve until Ctrl+C, on Windows, Linux and macOS",
    "generate": "generate images, with a running server or without one",
    "models": "list, download and remove models",
    "loras": "list, load and unload the LoRAs of a running server",
    "jobs": "list and cancel what a running server works on",
    "status": "say how a running server is",
    "keys": "make keys for clients",
    "doctor": "say what this machine can serve, and what is missing",
    "mcp": "serve an assistant on stdin and stdout, for a running server",
    "completion": "print what makes a shell complete these commands",
}
EXIT_STATUSES = (
    "exit status: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl+C, 141 nobody reads the output any longer"
)


class Command(Protocol):
    """A file of `commands`."""

    EXAMPLE: str

    def add_flags(self, parser: "CommandParser") -> None:
        """Give the parser the flags of the command, and `run`, which returns the exit status."""


def sentence_of(words: str) -> str:
    """Return what a list of commands or flags says, as a sentence."""
    return f"{words[:1].upper()}{words[1:]}."


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps paths and words with hyphens whole."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=HELP_WIDTH)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


class CommandParser(argparse.ArgumentParser):
    """A parser whose minor flags only `--help-all` lists; `only` names the one command whose flags are wanted."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **options)
        self.minor: list[tuple[argparse.Action, str]] = []

    def add_minor(self, action: argparse.Action) -> None:
        """Leave a flag out of the short help."""
        self.minor.append((action, action.help or ""))
        action.help = argparse.SUPPRESS

    def error(self, message: str) -> NoReturn:
        """Say what is wrong; raises WrongUsage."""
        self.print_usage(sys.stderr)
        self._print_message(f"{self.prog}: error: {message}\n", sys.stderr)
        raise WrongUsage(message)

    def offer_all(self) -> None:
        """Add `--help-all`."""
        self.add_argument("--help-all", action=_HelpAll, nargs=0, help="show every flag")


class WrongUsage(SystemExit):
    """The words are no command; standard error has the sentence already."""

    def __init__(self, sentence: str) -> None:
        super().__init__(WRONG_USAGE)
        self.sentence = sentence


class CommandList:
    """The commands below a parser; each describes itself by the sentence that the list has of it."""

    def __init__(self, parser: CommandParser, dest: str) -> None:
        self._commands = parser.add_subparsers(
            dest=dest, required=True, metavar="COMMAND", title="commands", prog=parser.prog
        )

    def add_command(self, name: str, sentence: str) -> CommandParser:
        """Add a command, and return what its flags are added to."""
        return self._commands.add_parser(name, help=sentence, description=sentence_of(sentence))


class _HelpAll(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        assert isinstance(parser, CommandParser)
        for action, sentence in parser.minor:
            action.help = sentence
        parser.print_help()
        parser.exit()


def build_parser(*, only: str | None = None) -> CommandParser:
    """Return the parser of every command; `only` names one whose flags are enough, which spares slow imports."""
    parser = CommandParser(
        prog=PROGRAM,
        usage="%(prog)s COMMAND [flags]",
        description="Self-hosted image generation. In a checkout: .venv/bin/python qwen_image_server.py COMMAND",
        epilog='example: %(prog)s generate "a red circle" -o circle.png\n' + EXIT_STATUSES,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = CommandList(parser, "command")
    for name, sentence in COMMANDS.items():
        below = commands.add_command(name, sentence)
        if only is None or name == only:
            add_command(below, cast(Command, importlib.import_module(f"imageserver.cli.commands.{name}")))
    return parser


def add_command(parser: CommandParser, command: Command) -> None:
    """Give the parser of a command its flags and its example."""
    command.add_flags(parser)
    parser.epilog = f"example: {command.EXAMPLE}".replace("%", "%%")


def commands_below(parser: argparse.ArgumentParser) -> Mapping[str, CommandParser]:
    """Return the commands below a parser by their names."""
    lists = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(lists[0].choices) if lists else {}


def flags_of(parser: argparse.ArgumentParser) -> Sequence[argparse.Action]:
    """Return the flags and arguments of a parser, without the commands below it."""
    return [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
