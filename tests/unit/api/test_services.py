"""The background work of a worker."""

import os
import time
from typing import Any
from unittest.mock import Mock

import gevent

from imageserver.api import services
from imageserver.api.services import Services
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.outputs.folder import OutputFolder


def test_old_images_are_removed_even_if_no_new_ones_are_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(services, "MAINTENANCE_INTERVAL_SECONDS", 0.02)
    old, new = (tmp_path / f"Qwen-Image-20261120_150405-req{number}.png" for number in (1, 2))
    for image in (old, new):
        image.write_bytes(b"image")
    os.utime(old, (time.time() - 100,) * 2)
    others: dict[str, Any] = dict.fromkeys(Services.__dataclass_fields__.keys() - {"draining"})
    outputs, pool = OutputFolder(tmp_path, max_mb=1, max_age=50), ThreadPool(1)
    Services(**others | {"client": Mock(), "outputs": outputs, "thread_pool": pool, "storage_threads": pool}).start()
    deadline = time.monotonic() + 10
    while old.exists() and time.monotonic() < deadline:
        gevent.sleep(0.01)
    assert [path.name for path in tmp_path.iterdir()] == [new.name]
