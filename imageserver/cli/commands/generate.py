"""`generate`: images from a running server, or from one that lives as long as the command."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageserver.cli.failure import CommandFailed
from imageserver.cli.flags import body_flags
from imageserver.cli.flags.parser import CommandParser
from imageserver.cli.flags.server_flags import add_json, add_server_flags

if TYPE_CHECKING:
    from imageserver.cli.client.task import GeneratedImages
    from imageserver.cli.terminal.progress import ProgressBar

EXAMPLE = (
    'qwen-image-server generate "a red circle" -o circle.png --seed 7\n'
    "         echo 'a red circle' | qwen-image-server generate - --url http://localhost:5000 -n 4 --json"
)
FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
# A small image without --url: it may be generated on a CPU.
DEFAULT_RATIO = "s1:1"


def add_flags(parser: CommandParser) -> None:
    parser.usage = "%(prog)s PROMPT [flags]"
    parser.add_argument("prompt", metavar="PROMPT", help="what to generate; - reads it from standard input")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("image.png"), metavar="FILE",
        help="image file to write: .png, .jpg or .webp; several images get numbers (%(default)s)",
    )  # fmt: skip
    add_server_flags(parser, url="address of a running server; without it, the model is loaded for this command alone")
    add_json(parser)
    parser.add_argument("--no-show", action="store_true", help="do not show the image in a terminal that can")
    parser.offer_all()
    body_flags.add_to(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Generate, write the files, and say what was generated."""
    from imageserver.cli.terminal.progress import ProgressBar

    # A pipe is read by a program, which needs to be told of a failure too.
    options.as_json = options.as_json or not sys.stdout.isatty()
    body = _body(options)
    with ProgressBar(unit="step", quiet=options.as_json and not sys.stderr.isatty()) as bar:
        images = _from_running(options, body, bar) if options.url else _from_own(body, bar)
    files = _write(images.files, options.output)
    _print_outcome(options, images, files)
    return 0


def _body(options: argparse.Namespace) -> dict[str, Any]:
    """Return the body of the request; the format is that of the file's name."""
    output_format = FORMATS.get(options.output.suffix.lower())
    if output_format is None:
        raise CommandFailed(f"--output {options.output} must end in {', '.join(FORMATS)}.", "invalid_parameter")
    body = body_flags.body_of(options)
    if options.prompt == "-":
        body["prompt"] = sys.stdin.read().strip()
    if body.setdefault("output_format", output_format) != output_format:
        raise CommandFailed(f"--output {options.output} is not for --output-format {body['output_format']}.")
    return body


def _from_running(options: argparse.Namespace, body: dict[str, Any], bar: "ProgressBar") -> "GeneratedImages":
    from imageserver.cli.client.connection import connect
    from imageserver.cli.client.task import GenerationTask

    return GenerationTask(connect(options.url, options.key_file), body).result(bar)


def _from_own(body: dict[str, Any], bar: "ProgressBar") -> "GeneratedImages":
    from imageserver.api.inputs import generate_request
    from imageserver.cli.client.task import GenerationTask
    from imageserver.cli.own_server.process import OwnServer
    from imageserver.errors import ServiceError
    from imageserver.settings.source import load_settings

    if not body.keys() & {"aspect_ratio", "size", "width", "height", "image"}:
        body["aspect_ratio"] = DEFAULT_RATIO
    try:
        # Before a model is loaded for nothing.
        generate_request.parse(body, load_settings())
    except ServiceError as error:
        raise CommandFailed(error.sentence, error.code) from None
    bar.show(0, 0, "starting")
    with OwnServer(bar) as connection:
        return GenerationTask(connection, body).result(bar)


def _write(images: list[bytes], output: Path) -> list[Path]:
    """Write the images, with numbers where there are several, and return their files."""
    names = [output]
    if len(images) > 1:
        names = [output.with_stem(f"{output.stem}-{number}") for number in range(1, len(images) + 1)]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for name, data in zip(names, images, strict=True):
            name.write_bytes(data)
    except OSError as error:
        raise CommandFailed(f"{output} cannot be written: {error.strerror or error}.") from None
    return names


def _print_outcome(options: argparse.Namespace, images: "GeneratedImages", files: list[Path]) -> None:
    from imageserver.cli.terminal.images import show_image
    from imageserver.cli.terminal.output import print_json, print_line

    status, job = images.status, images.job
    if options.as_json:
        print_json(
            {
                "file": str(files[0]), "seed": status["seeds"][0], "model": job.get("model"),
                "files": [str(file) for file in files], "seeds": status["seeds"],
                "width": job.get("width"), "height": job.get("height"), "seconds": status["processing_time"],
                "job": status["requestId"], "warnings": status["warnings"],
            }
        )  # fmt: skip
        return
    for file, seed, data in zip(files, status["seeds"], images.files, strict=False):
        if not options.no_show:
            show_image(data)
        parts = [f"seed {seed}", job.get("model"), f"{status['processing_time']:.1f} s"]
        print_line(f"{file}  {', '.join(filter(None, parts))}")
    for warning in status["warnings"]:
        print_line(warning, sys.stderr)
