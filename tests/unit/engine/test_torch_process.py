"""What the engine sets before torch is imported, where the user has not."""

import os

import pytest

from imageserver.engine import torch_process


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ({}, ["expandable_segments:True", "expandable_segments:True"]),
        ({"PYTORCH_ALLOC_CONF": "backend:native"}, ["backend:native", None]),
        # Newer versions would read only the other name, were it set too.
        ({"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}, [None, "backend:native"]),
    ],
)
def test_memory_of_the_card_may_grow_in_place_unless_the_user_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, users: dict[str, str], expected: list[str | None]
) -> None:
    monkeypatch.setattr(os, "environ", dict(users))
    torch_process.prepare_environment()
    assert [os.environ.get(name) for name in torch_process.ALLOCATOR_VARIABLES] == expected


@pytest.mark.parametrize(("users", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, users: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(os, "environ", dict(users))
    torch_process.prepare_environment()
    assert os.environ["OMP_WAIT_POLICY"] == expected
