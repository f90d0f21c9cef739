"""A task whose prompt an endpoint improves is refused when it is submitted, or not at all."""

from types import SimpleNamespace

import pytest

from imageserver.api.dialects.tasks import accepting
from imageserver.api.dialects.tasks.accepting import TaskRequest
from imageserver.client_limits import NO_LIMITS, ClientLimits
from imageserver.generation import Outcome
from tests.support.enhancing_service import Endpoint, pending_of, service_with
from tests.support.factories import task_store

LIMITS = ClientLimits(seconds_per_hour=1.0)


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A service with tasks, and a client that has limits."""
    service = service_with(Endpoint(), max_queue=4, state_dir=tmp_path, resolve=lambda path: path)
    service.tasks, service.followed = task_store(tmp_path), []
    for name, value in {"credential": "", "account": "address 1", "limits": LIMITS}.items():
        monkeypatch.setattr(accepting, name, lambda value=value: value)
    monkeypatch.setattr(accepting.runner, "follow", lambda service, task, begin: service.followed.append(begin))
    return service


def accepted(service, pending):
    return accepting.accept(service, TaskRequest(number=1, pending=pending, fields={}, warnings=[]))


def test_its_limits_and_patience_count_when_it_is_accepted_and_not_again(service):
    accepted(service, pending_of(service, limits=LIMITS, patience=9.0, account="address 1"))
    assert service.client.admitted == [LIMITS]
    [begin] = service.followed
    _, updates = begin()
    next(updates)
    [message] = service.client.submitted
    assert (message.limits, message.client_timeout, message.account) == (NO_LIMITS, None, "address 1")


def test_one_whose_images_are_cached_takes_no_place_in_a_full_queue(service, monkeypatch):
    service.client.is_full = True
    outcome = Outcome(width=64, height=64, seeds=(1,), inference_time=1.0, queue_time=0.0, batch_size=1)
    pending = pending_of(service)
    monkeypatch.setattr(pending, "cached", lambda: SimpleNamespace(outcome=outcome))
    monkeypatch.setattr(service.client, "record_cache_hit", lambda hit: None, raising=False)
    assert accepted(service, pending).expected == 0.0
