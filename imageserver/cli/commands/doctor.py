"""`doctor`: what this machine can serve, and what is missing."""

import argparse

from imageserver.cli.flags.parser import CommandParser
from imageserver.cli.flags.server_flags import add_json

EXAMPLE = "MODEL=sd-xl-base qwen-image-server doctor"


def add_flags(parser: CommandParser) -> None:
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from imageserver.cli.doctor import doctor

    return doctor(as_json=options.as_json)
