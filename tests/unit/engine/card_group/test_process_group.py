"""How long a rank waits for the others: briefly until they have met, long in a forward."""

import os
import time
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist

from imageserver.engine.card_group import process_group
from imageserver.engine.card_group.process_group import ProcessGroup

CPU = torch.device("cpu")


def test_a_rank_that_never_comes_holds_the_others_for_the_time_of_a_join(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process_group, "JOIN_SECONDS", 0.5)
    monkeypatch.setattr(process_group, "FORWARD_SECONDS", 10.0)
    began = time.monotonic()
    with pytest.raises(RuntimeError):
        ProcessGroup(0, 2, CPU, os.memfd_create("ranks"), 1)
    assert time.monotonic() - began < process_group.FORWARD_SECONDS / 2


def test_after_a_join_that_failed_ranks_that_are_new_are_met_under_their_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process_group, "JOIN_SECONDS", 0.5)
    with pytest.raises(RuntimeError):
        ProcessGroup(0, 2, CPU, os.memfd_create("ranks"), 1)
    met = ProcessGroup(0, 1, CPU, os.memfd_create("ranks"), 2)
    assert dist.group.WORLD is not None
    assert dist.group.WORLD.group_name == "0"
    met.leave()


def test_ranks_that_cannot_build_a_mesh_leave_and_may_meet_again(monkeypatch: pytest.MonkeyPatch):
    meet, store = dist.init_process_group, os.memfd_create("ranks")

    def meet_alone(backend: str, **options: Any) -> None:
        meet(backend, **options | {"world_size": 1})

    with monkeypatch.context() as patch:
        patch.setattr(dist, "init_process_group", meet_alone)
        with pytest.raises(RuntimeError, match="world size"):
            ProcessGroup(0, 2, CPU, store, 1)
    ProcessGroup(0, 1, CPU, store, 2).leave()


def test_a_forward_may_take_longer_than_a_join():
    met = ProcessGroup(0, 1, CPU, os.memfd_create("ranks"), 1)
    try:
        gloo = dist.distributed_c10d._get_default_group()._get_backend(CPU)
        assert gloo.options._timeout == timedelta(seconds=process_group.FORWARD_SECONDS)
    finally:
        met.leave()
