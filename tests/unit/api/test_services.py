"""The background work of a worker."""

import os
import threading
import time
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import gevent
import pytest

from imageserver.api import services
from imageserver.api.services import Services
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.errors import Loading
from imageserver.outputs.folder import OutputFolder


@pytest.fixture(autouse=True)
def _ends_its_background_work(monkeypatch):
    """End what the services go on doing: it would write into the logs of later tests."""
    spawn, spawned = gevent.spawn, []

    def watched(*arguments):
        spawned.append(spawn(*arguments))
        return spawned[-1]

    monkeypatch.setattr(gevent, "spawn", watched)
    yield
    gevent.killall(spawned, timeout=60)


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


def signing_service(**signing):
    others: dict[str, Any] = dict.fromkeys(Services.__dataclass_fields__.keys() - {"draining"})
    working = Mock(obstacle="")
    client = Mock(**{"snapshot.state": "healthy", "snapshot.reason": "fits"})
    return Services(**others | {"client": client, "tasks": working, "outputs": working} | signing)


def test_a_certificate_that_expires_stops_no_image_but_is_told():
    certificate = Mock(is_valid=True, expires=datetime(2027, 1, 2, 3, 4, tzinfo=UTC))
    service = signing_service(signer=Mock(certificate=certificate))
    assert (service.output_signer, service.status, service.reason) == (service.signer, "healthy", "fits")
    certificate.is_valid = False
    assert (service.output_signer, service.status) == (None, "degraded")
    assert service.reason == "C2PA_CERT expired at 2027-01-02 03:04 UTC: images have no C2PA manifest."


def test_a_certificate_that_is_not_valid_yet_is_told_otherwise():
    begins = datetime(2027, 1, 2, 3, 4, tzinfo=UTC)
    certificate = Mock(is_valid=False, has_begun=False, begins=begins)
    service = signing_service(signer=Mock(certificate=certificate))
    assert service.reason == "C2PA_CERT is valid from 2027-01-02 03:04 UTC: images have no C2PA manifest yet."


def test_a_certificate_that_a_worker_cannot_use_is_told():
    problem = "Images have no C2PA manifest: C2PA_CERT=cert.pem has no certificate in PEM format."
    service = signing_service(signer_problem=problem)
    assert (service.output_signer, service.status, service.reason) == (None, "degraded", problem)


@pytest.mark.parametrize("seconds", [1800.0, None])
def test_before_the_first_load_is_over_a_client_is_told_when_that_may_be(seconds):
    others: dict[str, Any] = dict.fromkeys(Services.__dataclass_fields__.keys() - {"draining"})
    client = Mock(
        **{"snapshot.info": None, "snapshot.reason": "It is being downloaded.", "snapshot.retry_after": seconds}
    )
    with pytest.raises(Loading, match=r"^The model is not loaded yet: It is being downloaded\.$") as raised:
        Services(**others | {"client": client}).loaded_info()
    assert raised.value.retry_after == seconds
