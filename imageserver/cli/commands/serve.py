"""`serve`: gevent's own server, with every setting as a flag."""

import argparse
import os

from pydantic import SecretStr

from imageserver.cli.flags.field_flags import add_fields, given_fields
from imageserver.cli.flags.parser import CommandParser
from imageserver.settings import Settings, variables_of

EXAMPLE = "qwen-image-server serve --model demo --port 5001"
SHOWN = {"model", "port", "host", "device", "devices", "offline", "allow_open", "log_level"}
# Other users of the machine see the flags of a command.
SECRETS = {
    name for name, information in Settings.model_fields.items()
    if SecretStr in (information.annotation, *getattr(information.annotation, "__args__", ()))
}  # fmt: skip


def add_flags(parser: CommandParser) -> None:
    parser.usage = "%(prog)s [flags]"
    parser.description = (
        "Serve until Ctrl+C, on Windows, Linux and macOS. A flag wins over the environment, and that over .env;\n"
        "secrets have no flags: set " + ", ".join(variables_of(name)[0] for name in sorted(SECRETS)) + " there."
    )
    parser.offer_all()
    add_fields(parser, Settings, shown=SHOWN, left_out=SECRETS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve with the flags as settings."""
    from imageserver.cli.serve import serve

    set_variables(options)
    return serve()


def set_variables(options: argparse.Namespace) -> None:
    """Put the flags into the environment, where every process of the server finds them."""
    given = given_fields(options, Settings)
    for name, other in (("device", "devices"), ("devices", "device")):
        if name in given and other not in given:
            os.environ.pop(variables_of(other)[0], None)  # both at a time would contradict each other
    for name, value in given.items():
        os.environ[variables_of(name)[0]] = str(int(value) if isinstance(value, bool) else value)
