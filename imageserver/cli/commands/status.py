"""`status`: how a running server is, in a few lines."""

import argparse

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
    from imageserver.cli.terminal.output import print_json, print_line, print_state

    connection = connect(options.url, options.key_file)
    health = connection.ask("GET", "/health")
    if options.as_json:
        print_json(health)
    else:
        state, version = health["status"], health["version"]
        print_state(STATES.get(state, "problem"), state, f"  {connection.url}, version {version}")
        if health.get("reason"):
            print_line(health["reason"])
        model = health.get("generator_info", {}).get("model_id") or "none yet"
        device = health.get("gpu")
        print_line(f"model   {model} on {device}" if device else f"model   {model}")
        running, waiting, total = (health[name] for name in ("active_tasks", "queue_length", "total_tasks"))
        print_line(f"queue   {running} running, {waiting} waiting, {total} so far")
    return 0 if health["status"] in ("healthy", "degraded") else 1
