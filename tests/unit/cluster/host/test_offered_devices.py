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
        ({"devices": "none", "cluster": "10.0.0.5:6379"}, "cuda:0\n", ()),
    ],
)
def test_a_machine_offers_what_it_is_told_or_all_that_it_has(settings, found, offered, monkeypatch):
    monkeypatch.setattr(offered_devices.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=found))
    assert offered_devices.offered_devices(Settings(_env_file=None, **settings)) == offered
