"""The background work of a worker."""

import os
import threading
import time
from typing import Any
from unittest.mock import Mock

import gevent

from imageserver.api import services
from imageserver.api.services import Services
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.outputs.folder import OutputFolder


def start(outputs):
    others: dict[str, Any] = dict.fromkeys(Services.__dataclass_fields__.keys() - {"draining"})
    pool = ThreadPool(1)
    Services(
        **others
        | {
            "client": Mock(),
            "measurement_link": Mock(),
            "outputs": outputs,
            "thread_pool": pool,
            "storage_threads": pool,
        }
    ).start()


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        gevent.sleep(0.01)
    assert condition()


def test_old_images_are_removed_even_if_no_new_ones_are_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(services, "MAINTENANCE_INTERVAL_SECONDS", 0.02)
    old, new = (tmp_path / f"Qwen-Image-20261120_150405-req{number}.png" for number in (1, 2))
    for image in (old, new):
        image.write_bytes(b"image")
    os.utime(old, (time.time() - 100,) * 2)
    start(OutputFolder(tmp_path, max_mb=1, max_age=50))
    wait_for(lambda: not old.exists())
    assert [path.name for path in tmp_path.iterdir()] == [new.name]


def test_a_store_is_looked_after_again_when_that_failed(monkeypatch):
    monkeypatch.setattr(services, "MAINTENANCE_INTERVAL_SECONDS", 0.02)
    # As where the system starts no more processes.
    outputs = Mock(**{"start.side_effect": [None, OSError(), *[None] * 999], "maintain.side_effect": OSError()})
    start(outputs)
    wait_for(lambda: outputs.start.call_count > 2 and outputs.maintain.call_count > 1)


def test_a_store_process_is_replaced_while_every_thread_waits_for_it(monkeypatch):
    monkeypatch.setattr(services, "MAINTENANCE_INTERVAL_SECONDS", 0.02)
    is_over = threading.Event()
    outputs = Mock(**{"maintain.side_effect": lambda: is_over.wait(20)})
    start(outputs)
    try:
        wait_for(lambda: outputs.maintain.called)
        calls = outputs.start.call_count
        wait_for(lambda: outputs.start.call_count > calls + 2)
    finally:
        is_over.set()
