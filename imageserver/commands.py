"""The command line of `qwen_image_server.py`: serve without gunicorn, and draw one picture without a server."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run(arguments: list[str], create_app: Callable[..., Any]) -> int:
    """Parse and run; return the exit status."""
    parser = argparse.ArgumentParser(prog="qwen_image_server.py", description="Self-hosted image generation.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve with gevent's own server (Windows, Linux, macOS)")
    draw = commands.add_parser("generate", help="draw one picture; needs no running server")
    draw.add_argument("prompt")
    draw.add_argument("-o", "--output", type=Path, default=Path("image.png"), help="file to write (png, jpg, webp)")
    draw.add_argument("--negative-prompt", default=" ")
    draw.add_argument("--aspect-ratio", default="s1:1")
    draw.add_argument("--steps", type=int, default=20)
    draw.add_argument("--true-cfg-scale", type=float, default=4.0)
    draw.add_argument("--seed", type=int, default=42)
    draw.add_argument("--language", choices=("en", "zh"), default="en")
    draw.add_argument("--no-overlay", action="store_true")
    chosen = parser.parse_args(arguments)
    if chosen.command == "serve":
        from imageserver.api.standalone import serve

        return serve(create_app)
    from imageserver.api.single_shot import generate

    return generate(chosen)
