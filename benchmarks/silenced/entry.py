"""The Flask application without `Server-Timing`: `gunicorn benchmarks.silenced.entry:app`."""

import os
from typing import Any

from imageserver.api import measuring
from imageserver.app import create_app
from imageserver.settings.source import load_settings


def ignore(_app: Any) -> None:
    """Look at no response on its way out."""


measuring.register = ignore
app = create_app(load_settings(), owner=os.getppid())
