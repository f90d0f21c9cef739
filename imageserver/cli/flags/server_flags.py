"""The flags of every command that asks a running server, and `--json`."""

import argparse
from pathlib import Path

KEY_VARIABLE = "QIS_API_KEY"


def add_server_flags(
    parser: argparse.ArgumentParser, *, url: str = "address of the server; this machine and PORT by default"
) -> None:
    """Add `--url` and `--key-file`."""
    parser.add_argument("--url", help=url)
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help=f"file with the API key; without it, {KEY_VARIABLE} has the key"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Let a command print JSON."""
    parser.add_argument("--json", action="store_true", dest="as_json", help="print one JSON document for programs")
