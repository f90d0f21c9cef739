"""`completion`: what makes a shell complete the commands and their flags."""

import argparse

from imageserver.cli.completion import SHELLS
from imageserver.cli.flags.parser import CommandParser

EXAMPLE = "source <(qwen-image-server completion bash)"


def add_flags(parser: CommandParser) -> None:
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell to write for")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from imageserver.cli.flags.parser import build_parser

    print(SHELLS[options.shell](build_parser()), end="")
    return 0
