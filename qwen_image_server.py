"""qwen-image-server: the Flask entry that gunicorn loads, and the command line.

gunicorn -c gunicorn_config.py qwen_image_server:app     serve with gunicorn (Linux, macOS)
python qwen_image_server.py serve                        serve with gevent's own server (also Windows)
python qwen_image_server.py generate "a red circle"      generate images, no server needed
python qwen_image_server.py doctor                       say what this machine can serve, and what is missing
python qwen_image_server.py --help                       all other commands
"""

import os
import sys
from typing import Any


def __getattr__(name: str) -> Any:
    """Build `app` when gunicorn asks for it: importing this file has no side effects."""
    if name != "app":
        raise AttributeError(name)
    from imageserver.app import create_app
    from imageserver.settings.source import load_settings

    # Under gunicorn the arbiter is our parent, and every worker of one server has the same.
    globals()["app"] = create_app(load_settings(), owner=os.getppid())
    return globals()["app"]


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    from imageserver.cli import main as command_line

    return command_line.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
