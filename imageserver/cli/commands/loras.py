"""`loras`: the LoRAs of a running server."""

import argparse

from imageserver.cli.flags.parser import CommandList, CommandParser
from imageserver.cli.flags.server_flags import add_json, add_server_flags

EXAMPLE = "qwen-image-server loras list\n         qwen-image-server loras load night --model demo"
MB = 10**6


def add_flags(parser: CommandParser) -> None:
    commands = CommandList(parser, "loras_command")
    listing = commands.add_command("list", "list the LoRAs that requests can name")
    listing.set_defaults(run=print_loras)
    loading = commands.add_command("load", "load a LoRA in advance; by its id on a hub, download it first")
    loading.set_defaults(run=change, action="load")
    unloading = commands.add_command("unload", "unload a LoRA")
    unloading.set_defaults(run=change, action="unload")
    for each in (loading, unloading):
        each.add_argument("name", metavar="NAME", help="one of `loras list`")
    for each in (listing, loading, unloading):
        each.add_argument("--model", metavar="NAME", help="model that it is loaded into; the default model without it")
        add_server_flags(each)
        add_json(each)


def print_loras(options: argparse.Namespace) -> int:
    """Print what requests can name, and which of it is loaded."""
    from imageserver.cli.client.connection import connect
    from imageserver.cli.terminal.output import print_json, print_line, print_table

    answer = connect(options.url, options.key_file).ask("GET", "/v1/loras", model=options.model)
    if options.as_json:
        print_json(answer)
    else:
        rows = [
            [lora["id"], {True: "yes", False: "no", None: "?"}[lora["loaded"]], f"{lora['size'] / MB:.1f} MB",
             ", ".join(lora["trigger_words"]), lora["description"]]
            for lora in answer["data"]
        ]  # fmt: skip
        print_table(["NAME", "LOADED", "SIZE", "TRIGGER WORDS", "DESCRIPTION"], rows)
        for warning in answer["warnings"]:
            print_line(warning)
    return 0


def change(options: argparse.Namespace) -> int:
    """Load or unload a LoRA."""
    from imageserver.cli.client.connection import connect
    from imageserver.cli.terminal.output import print_json, print_line

    body = {"name": options.name} | ({"model": options.model} if options.model else {})
    lora = connect(options.url, options.key_file).ask("POST", f"/v1/loras/{options.action}", body)
    if options.as_json:
        print_json(lora)
    else:
        print_line(f"{lora['id']} is {'loaded' if lora['loaded'] else 'not loaded'}.")
    return 0
