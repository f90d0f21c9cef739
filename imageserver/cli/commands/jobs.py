"""`jobs`: what a running server works on, and how to stop it."""

import argparse
from typing import get_args

from imageserver.api.schemas import JobResponse
from imageserver.cli.flags.parser import CommandList, CommandParser
from imageserver.cli.flags.server_flags import add_json, add_server_flags

EXAMPLE = "qwen-image-server jobs list --state queued\n         qwen-image-server jobs cancel 17"
PROMPT_CHARACTERS = 50


def add_flags(parser: CommandParser) -> None:
    commands = CommandList(parser, "jobs_command")
    listing = commands.add_command("list", "list the running requests and the last ones that ended")
    states = get_args(JobResponse.model_fields["state"].annotation)
    listing.add_argument("--state", choices=states, help="only jobs in this state")
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (%(default)s)")
    listing.set_defaults(run=print_jobs)
    cancelling = commands.add_command("cancel", "cancel a request; one that has ended stays as it is")
    cancelling.add_argument("number", type=int, metavar="NUMBER", help="the number of the job")
    cancelling.set_defaults(run=cancel)
    for each in (listing, cancelling):
        each.add_argument("--all", action="store_true", help="jobs of other clients too, with the key of an admin")
        add_server_flags(each)
        add_json(each)


def print_jobs(options: argparse.Namespace) -> int:
    """Print the newest requests first."""
    from imageserver.cli.client.connection import connect
    from imageserver.cli.terminal.output import print_json, print_table

    connection = connect(options.url, options.key_file)
    answer = connection.ask("GET", "/v1/jobs", state=options.state, limit=options.limit, all=options.all)
    if options.as_json:
        print_json(answer)
    else:
        rows = [
            [job["id"], job["state"], f"{job['progress']:.0%}", job["model"], _beginning(job["prompt"])]
            for job in answer["data"]
        ]
        print_table(["JOB", "STATE", "DONE", "MODEL", "PROMPT"], rows)
    return 0


def cancel(options: argparse.Namespace) -> int:
    from imageserver.cli.client.connection import connect
    from imageserver.cli.terminal.output import print_json, print_line

    connection = connect(options.url, options.key_file)
    job = connection.ask("DELETE", f"/v1/jobs/{options.number}", all=options.all)
    if options.as_json:
        print_json(job)
    else:
        print_line(f"Job {job['id']} is {job['state']}.")
    return 0


def _beginning(prompt: str) -> str:
    line = " ".join(prompt.split())
    return line if len(line) <= PROMPT_CHARACTERS else f"{line[: PROMPT_CHARACTERS - 1]}…"
