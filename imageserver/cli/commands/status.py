"""`status`: how a running server is, in a few lines."""

import argparse
import sys

from imageserver.cli.flags.parser import CommandParser
from imageserver.cli.flags.server_flags import add_json, add_server_flags

EXAMPLE = "qwen-image-server status --url http://localhost:5000"
# It generates; `degraded` says what it cannot do besides.
STATES = {"healthy": "ok", "degraded": "warning", "loading": "warning", "draining": "warning"}


def add_flags(parser: CommandParser) -> None:
    add_server_flags(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the state of the server; the exit status is 0 where it can generate now."""
    from imageserver.cli.client.connection import connect
    from imageserver.cli.terminal.output import print_json, with_sign

    connection = connect(options.url, options.key_file)
    health = connection.ask("GET", "/health")
    if options.as_json:
        print_json(health)
    else:
        state = with_sign(STATES.get(health["status"], "problem"), health["status"], sys.stdout)
        print(f"{state}  {connection.url}, version {health['version']}")
        if health.get("reason"):
            print(health["reason"])
        model = health.get("generator_info", {}).get("model_id") or "none yet"
        device = health.get("gpu")
        print(f"model   {model} on {device}" if device else f"model   {model}")
        running, waiting, total = (health[name] for name in ("active_tasks", "queue_length", "total_tasks"))
        print(f"queue   {running} running, {waiting} waiting, {total} so far")
    return 0 if health["status"] in ("healthy", "degraded") else 1
