"""Run the dispatcher: `python -m imageserver.dispatch OWNER`, with the settings as JSON on standard input.

It leaves its parent at once: a dispatcher that were a child of an HTTP worker would be reaped and judged by it.
"""

import asyncio
import os
import sys

from imageserver.dispatch.client.runtime_dir import RuntimeDir
from imageserver.dispatch.server import serve
from imageserver.settings import Settings
from imageserver.telemetry.logs import configure_logging


def main() -> None:
    if hasattr(os, "fork"):
        if os.fork():
            os._exit(0)
        os.setsid()
    content = sys.stdin.buffer.read()
    if not content:
        return  # the worker that started it was killed in between; the next one starts another
    settings = Settings.model_validate_json(content)
    configure_logging(settings)
    asyncio.run(serve(settings, RuntimeDir(int(sys.argv[1]))))


if __name__ == "__main__":
    main()
