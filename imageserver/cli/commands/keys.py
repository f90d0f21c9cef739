"""`keys`: a key for a client, as a line of API_KEYS_FILE."""

import argparse
import secrets
import sys
from pathlib import Path

from imageserver.cli.failure import CommandFailed
from imageserver.cli.flags.parser import CommandList, CommandParser
from imageserver.cli.flags.server_flags import add_json

EXAMPLE = "qwen-image-server keys new ann --role user --rpm 60"
# As many bits as no guess reaches.
KEY_BYTES = 32


def add_flags(parser: CommandParser) -> None:
    from imageserver.api.credentials.key_entries import LIMITS, ROLES

    commands = CommandList(parser, "keys_command")
    new = commands.add_command("new", "make a key, add it to API_KEYS_FILE, and print it once")
    new.add_argument("name", metavar="NAME", help="whose key it is: letters, digits and . _ @ -")
    new.add_argument("--file", type=Path, help="file to add it to; that of API_KEYS_FILE without it")
    new.add_argument("--role", choices=ROLES, default="user", help="what its owner may do (%(default)s)")
    for name in LIMITS:
        new.add_argument(f"--{name.replace('_', '-')}", type=int, dest=name, metavar="N", help="a limit of this key")
    add_json(new)
    new.set_defaults(run=make)


def make(options: argparse.Namespace) -> int:
    """Add a line to the file of keys; only standard output ever has the key."""
    from imageserver.api.credentials.key_entries import LIMITS, NAME
    from imageserver.cli.key_file import append_entry
    from imageserver.cli.terminal.output import print_json
    from imageserver.settings.source import load_settings

    if not NAME.fullmatch(options.name):
        # `#` would begin a comment, and the key open nothing.
        raise CommandFailed("NAME must have 1 to 64 letters, digits and . _ @ - alone; nothing was written.")
    settings = load_settings()
    file = options.file or (settings.api_keys_file and settings.resolve(settings.api_keys_file))
    if file is None:
        raise CommandFailed("API_KEYS_FILE is not set: set it, or name a file with --file.")
    key = f"qis-{secrets.token_urlsafe(KEY_BYTES)}"
    limits = [f"{name}={value}" for name in LIMITS if (value := getattr(options, name)) is not None]
    append_entry(file, f"{options.name}:{key} {' '.join([f'role={options.role}', *limits])}", settings)
    if options.as_json:
        print_json({"name": options.name, "role": options.role, "file": str(file), "key": key})
    else:
        print(f"The key of {options.name} is in {file} and is shown only now:", file=sys.stderr)
        print(key)
    return 0
