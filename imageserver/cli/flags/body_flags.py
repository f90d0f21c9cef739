"""The flags of `generate`: every field of `POST /generate` under its own name, images as files."""

import argparse
import base64
from pathlib import Path
from typing import Any

from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.cli.failure import CommandFailed
from imageserver.cli.flags.field_flags import add_fields, given_fields
from imageserver.cli.flags.parser import CommandParser

SHOWN = {
    "negative_prompt", "num_inference_steps", "true_cfg_scale", "seed", "n", "model", "aspect_ratio", "size",
    "add_overlay",
}  # fmt: skip
ALSO = {"num_inference_steps": ("--steps",), "n": ("-n",)}
IMAGES = ("image", "mask", "control_image")
# The images of a task are saved anyway.
LEFT_OUT = ("prompt", "loras", "save_to_file", *IMAGES)
ADDRESSES = ("http://", "https://", "data:")


def add_to(parser: CommandParser) -> None:
    """Add a flag for each field."""
    add_fields(parser, GenerateBody, shown=SHOWN, left_out=LEFT_OUT, also=ALSO)
    parser.add_argument(
        "--no-overlay",
        action="store_false",
        dest="add_overlay",
        default=argparse.SUPPRESS,
        help="The same as --no-add-overlay.",
    )
    for name in IMAGES:
        # One that starts with several images takes the flag several times.
        sentence = (GenerateBody.model_fields[name].description or "").partition(": base64")[0].rstrip(".")
        parser.add_argument(
            f"--{name.replace('_', '-')}", action="append", metavar="FILE", default=argparse.SUPPRESS,
            help=f"{sentence}: a file or an address{'; repeat it for several' if name == 'image' else ''}.",
        )  # fmt: skip
    parser.add_argument(
        "--lora", action="append", type=_lora, dest="loras", metavar="NAME[=SCALE]", default=argparse.SUPPRESS,
        help="LoRA to use, with its scale; repeat it for several.",
    )  # fmt: skip


def body_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the body of the request that the flags describe; raises CommandFailed for an image that cannot be read."""
    body = given_fields(options, GenerateBody)
    for name in IMAGES:
        if name in body:
            images = [_image(name, text) for text in body[name]]
            if len(images) > 1 and name != "image":
                raise CommandFailed(
                    f"--{name.replace('_', '-')} is one image, and is here {len(images)} times.", status=2
                )
            body[name] = images if len(images) > 1 else images[0]
    for control in body.get("controls") or ():
        control["image"] = _image("controls", control["image"])
    return body


def _lora(text: str) -> dict[str, Any]:
    name, _, scale = text.partition("=")
    try:
        return {"name": name, "scale": float(scale)} if scale else {"name": name}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} should be NAME or NAME=SCALE, such as night=0.8") from None


def _image(name: str, text: str) -> str:
    if text.startswith(ADDRESSES):
        return text
    try:
        return base64.b64encode(Path(text).expanduser().read_bytes()).decode()
    except OSError as error:
        raise CommandFailed(f"--{name.replace('_', '-')} {text} cannot be read: {error.strerror}.") from None
