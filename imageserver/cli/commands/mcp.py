"""`mcp`: an assistant on stdin and stdout, for a running server."""

import argparse

from imageserver.cli.flags.parser import CommandParser
from imageserver.cli.flags.server_flags import add_server_flags

EXAMPLE = "qwen-image-server mcp --url http://localhost:5000"


def add_flags(parser: CommandParser) -> None:
    add_server_flags(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from imageserver.cli.client.key import read_key
    from imageserver.cli.mcp import relay

    return relay(options.url, read_key(options.key_file))
