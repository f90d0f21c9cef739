"""`models`: those in this machine's folder for downloads, or with `--url` those of a running server."""

import argparse
import sys
from typing import TYPE_CHECKING

from imageserver.cli.failure import WRONG_USAGE, CommandFailed
from imageserver.cli.flags.parser import CommandList, CommandParser
from imageserver.cli.flags.server_flags import add_json, add_server_flags

if TYPE_CHECKING:
    from imageserver.protocol.model_storage import StorageAnswer, StorageRequest

EXAMPLE = "qwen-image-server models pull z-image-turbo\n         qwen-image-server models list --json"
GB = 1e9
STORAGE = "imageserver.engine.models.storage"


def add_flags(parser: CommandParser) -> None:
    commands = CommandList(parser, "models_command")
    listing = commands.add_command("list", "list the named models and the downloaded ones")
    listing.set_defaults(run=print_models)
    pulling = commands.add_command("pull", "download a model; with --url, the server loads it too")
    pulling.set_defaults(run=pull)
    removing = commands.add_command("remove", "remove what was downloaded of a model from this machine")
    removing.add_argument("--yes", action="store_true", help="do not ask first")
    removing.set_defaults(run=remove)
    for each in (pulling, removing):
        each.add_argument("name", metavar="MODEL", help="a name of `models list`, or an id such as Qwen/Qwen-Image")
    for each in (listing, pulling):
        add_server_flags(each, url="address of a running server; without it, the folder MODELS_DIR of this machine")
    for each in (listing, pulling, removing):
        add_json(each)


def print_models(options: argparse.Namespace) -> int:
    """Print what can be served: by this machine with its sizes, or by a running server."""
    from imageserver.cli.client.connection import connect
    from imageserver.cli.terminal.output import print_json, print_table
    from imageserver.protocol.model_storage import StorageRequest

    if options.url:
        answer = connect(options.url, options.key_file).ask("GET", "/v1/models")
        header = ["MODEL"]
        rows = [[model["id"]] for model in answer["data"]]
    else:
        models = _ask_engine(StorageRequest("list")).models or []
        answer = {"object": "list", "data": models}
        header = ["MODEL", "ON DISK", "DOWNLOAD", "LICENCE", "SOURCE"]
        rows = [
            [each["name"], _gigabytes(each["stored_bytes"] / GB), _gigabytes(each["download_gb"]), each["licence"],
             each["source"]]
            for each in models
        ]  # fmt: skip
    print_json(answer) if options.as_json else print_table(header, rows)
    return 0


def pull(options: argparse.Namespace) -> int:
    """Download a model, with a bar; what has come already is not fetched again."""
    from imageserver.cli.terminal.output import print_json, print_line
    from imageserver.protocol.model_storage import StorageRequest

    if options.url:
        from imageserver.cli.client.connection import connect
        from imageserver.cli.client.model_load import load_model

        answer = load_model(connect(options.url, options.key_file), options.name)
        sentence = f"{answer['model']} is loaded on {options.url}."
    else:
        folder = _ask_engine(StorageRequest("pull", options.name)).folder
        answer = {"model": options.name, "folder": folder}
        sentence = f"{options.name} is in {folder}"
    print_json(answer) if options.as_json else print_line(sentence)
    return 0


def remove(options: argparse.Namespace) -> int:
    """Remove a model's files, if a person or `--yes` says so."""
    from imageserver.cli.terminal.output import is_confirmed, print_json, print_line
    from imageserver.protocol.model_storage import StorageRequest

    if not options.yes and not is_confirmed(f"Remove what was downloaded of {options.name}?"):
        raise CommandFailed("Nothing was removed; --yes removes without asking.", "not_confirmed", status=WRONG_USAGE)
    removed = _ask_engine(StorageRequest("remove", options.name)).removed_bytes or 0
    if options.as_json:
        print_json({"model": options.name, "removed_bytes": removed})
    else:
        print_line(f"Removed {_gigabytes(removed / GB)} of {options.name}.")
    return 0


def _ask_engine(request: "StorageRequest") -> "StorageAnswer":
    """Return the last answer of the process with the engine's packages; shows how far a download is."""
    from imageserver.cli.engine_module import ModuleFailed, lines_of
    from imageserver.cli.terminal.output import print_line
    from imageserver.cli.terminal.progress import ProgressBar
    from imageserver.protocol.model_storage import StorageAnswer, read_answer
    from imageserver.settings.source import load_settings

    last = StorageAnswer(error="The engine has not answered.")
    try:
        with ProgressBar(unit="%") as bar:
            for answer in filter(None, map(read_answer, lines_of(STORAGE, request.write(load_settings())))):
                last = answer
                if answer.progress is not None:
                    bar.show(round(100 * (answer.fraction or 0)), 100, answer.progress)
                    if not bar.is_shown:
                        print_line(answer.progress, sys.stderr)
    except ModuleFailed as error:
        raise CommandFailed(f"The engine cannot start here ({error}).") from None
    if last.error is not None:
        raise CommandFailed(last.error, "model_unavailable")
    return last


def _gigabytes(size: float | None) -> str:
    return f"{size:.1f} GB" if size else "-"
