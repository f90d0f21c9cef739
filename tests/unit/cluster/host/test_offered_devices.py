"""A machine offers what its settings name, else every card it has."""

from types import SimpleNamespace

import pytest

from imageserver.cluster.host import offered_devices
from imageserver.settings import Settings


@pytest.mark.parametrize(
    ("settings", "found", "offered"),
    [
        ({"device": "cuda:1"}, "", ("cuda:1",)),
        ({"devices": "cpu,cpu"}, "", ("cpu", "cpu")),
        ({"devices": "cuda:0+cuda:1,cuda:2"}, "", ("cuda:0+cuda:1", "cuda:2")),
        ({}, "cuda:0\ncuda:1\n", ("cuda:0", "cuda:1")),
        ({"devices": "auto"}, "cuda:0\n", ("cuda:0",)),
        ({}, "", ("auto",)),
        ({"num_worker_processes": 2}, "cuda:0\ncuda:1\ncuda:2\n", ("cuda:0", "cuda:1")),
        ({"devices": "cpu,cpu,cpu", "num_worker_processes": 2}, "", ("cpu", "cpu")),
        ({"device": "cuda", "num_worker_processes": 2}, "cuda:0\ncuda:1\ncuda:2\n", ("cuda:0", "cuda:1")),
        ({"device": "cuda", "num_worker_processes": 2}, "", ("cuda",)),
        ({"device": "cuda:1", "num_worker_processes": 1}, "", ("cuda:1",)),
        ({"devices": "none", "cluster": "10.0.0.5:6379"}, "cuda:0\n", ()),
    ],
)
def test_a_machine_offers_what_it_is_told_or_all_that_it_has(settings, found, offered, monkeypatch):
    monkeypatch.setattr(offered_devices.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=found))
    assert offered_devices.offered_devices(Settings(_env_file=None, **settings)) == offered


def test_more_devices_than_there_are_is_a_warning(caplog):
    settings = Settings(_env_file=None, devices="cpu,cpu", num_worker_processes=3)
    assert offered_devices.offered_devices(settings) == ("cpu", "cpu")
    assert [record.getMessage() for record in caplog.records] == [
        "NUM_WORKER_PROCESSES=3 is more than there are: cpu, cpu."
    ]
