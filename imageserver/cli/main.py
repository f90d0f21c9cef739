"""The command line, `qwen-image-server` where it is installed and `python qwen_image_server.py` in a checkout."""

import contextlib
import os
import sys

from imageserver.cli.failure import INTERRUPTED, NO_READER, CommandFailed
from imageserver.cli.flags.parser import WrongUsage, build_parser


def run(arguments: list[str] | None = None) -> int:
    """Parse the arguments, those of the shell by default, and run the command; return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["serve"]:
        # gevent replaces parts of the standard library, before anything else has imported them.
        import imageserver.cli.serve  # noqa: F401
    try:
        options = build_parser(only=next((word for word in words if not word.startswith("-")), "")).parse_args(words)
    except WrongUsage as wrong:
        if "--json" in words:
            _print_failure(wrong.sentence, "wrong_usage")
        raise
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except CommandFailed as failed:
        if getattr(options, "as_json", False):
            _print_failure(failed.sentence, failed.code)
        from imageserver.cli.terminal.output import print_line

        print_line(failed.sentence, sys.stderr)
        return failed.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` has. Python flushes it once more when it ends.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER


def _print_failure(sentence: str, code: str) -> None:
    from imageserver.cli.terminal.output import print_json

    print_json({"error": sentence, "code": code})
