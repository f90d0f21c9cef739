"""The command line, `qwen-image-server` where it is installed and `python qwen_image_server.py` in a checkout."""

import argparse
from pathlib import Path


def run(arguments: list[str] | None = None) -> int:
    """Parse the arguments, those of the shell by default, and run the command; return the exit status."""
    parser = argparse.ArgumentParser(description="Self-hosted image generation.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve with gevent's own server (Windows, Linux, macOS)")
    generate_parser = commands.add_parser("generate", help="generate one image without a running server")
    generate_parser.add_argument("prompt")
    generate_parser.add_argument(
        "-o", "--output", type=Path, default=Path("image.png"), help="image file to write: .png, .jpg or .webp"
    )
    generate_parser.add_argument("--negative-prompt", default=" ")
    generate_parser.add_argument("--aspect-ratio", default="s1:1")
    # Each is stored under the name of its field in the body of `POST /generate`.
    generate_parser.add_argument("--steps", type=int, default=20, dest="num_inference_steps", metavar="STEPS")
    generate_parser.add_argument("--true-cfg-scale", type=float, default=4.0)
    generate_parser.add_argument("--seed", type=int, default=42)
    generate_parser.add_argument("--language", choices=("en", "zh"), default="en")
    generate_parser.add_argument("--no-overlay", action="store_true")
    doctor_parser = commands.add_parser("doctor", help="say what this machine can serve, and what is missing")
    doctor_parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON for programs")
    mcp_parser = commands.add_parser("mcp", help="serve an assistant on stdin and stdout, for a running server")
    mcp_parser.add_argument("--url", help="address of the server; this machine and PORT by default")
    options = parser.parse_args(arguments)
    if options.command == "serve":
        from imageserver.cli.serve import serve

        return serve()
    if options.command == "doctor":
        from imageserver.cli.doctor import doctor

        return doctor(as_json=options.as_json)
    if options.command == "mcp":
        from imageserver.cli.mcp import relay

        return relay(options.url)
    from imageserver.cli.generate import generate

    return generate(options)
