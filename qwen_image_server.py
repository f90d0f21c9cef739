"""qwen-image-server: the Flask entry that gunicorn loads, and the command line.

gunicorn -c gunicorn_config.py qwen_image_server:app     serve with gunicorn (Linux, macOS)
python qwen_image_server.py serve                        serve with gevent's own server (also Windows)
python qwen_image_server.py generate "a red circle"      generate images, no server needed
python qwen_image_server.py doctor                       say what this machine can serve, and what is missing
python qwen_image_server.py --help                       all other commands
"""

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imageserver.api.credentials.accepted_secrets import AcceptedSecrets
    from imageserver.settings import Settings

# What gunicorn's main process has accepted, for the workers that it forks: a worker that is started later must not
# read what a reload has refused. None where this application is loaded otherwise.
accepted_settings: "Settings | None" = None
accepted_secrets: "AcceptedSecrets | None" = None


def __getattr__(name: str) -> Any:
    """Build `app` when gunicorn asks for it: importing this file has no side effects."""
    if name != "app":
        raise AttributeError(name)
    from imageserver.app import create_app
    from imageserver.settings.source import load_settings
    from imageserver.startup import require_closed

    settings = accepted_settings or load_settings()
    require_closed(settings, [settings.host])
    # Under gunicorn the arbiter is our parent, and every worker of one server has the same.
    globals()["app"] = create_app(settings, os.getppid(), accepted_secrets)
    return globals()["app"]


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    from imageserver.cli import main as command_line

    return command_line.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
