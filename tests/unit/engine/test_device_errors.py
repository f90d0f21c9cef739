"""Errors of a device are told apart by what they mean: out of memory, lost for good, or a fault of one generation."""

import logging
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imageserver.engine import __main__ as engine_process
from imageserver.engine.device_errors import drop_frames, ending_if_lost, is_lost, is_out_of_memory
from imageserver.engine.models import initial_model
from imageserver.settings import Settings
from tests.support.device_errors import DEVICE_LOST, OUT_OF_MEMORY, Ended


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_memory_that_ran_out_is_known_by_every_name_it_has(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_lost(error)


@pytest.mark.parametrize("error", DEVICE_LOST, ids=str)
def test_a_lost_device_is_no_lack_of_memory(error: Exception) -> None:
    assert is_lost(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), ValueError("out of memory"), OSError()])
def test_other_errors_are_neither(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert not is_lost(error)


def test_what_a_failed_function_held_is_free_although_its_error_lives() -> None:
    held: list[Any] = []

    def fail() -> None:
        tensor = torch.ones(3)
        held.append(weakref.ref(tensor))
        raise RuntimeError("full")

    def fail_in_turn() -> None:
        try:
            fail()
        except RuntimeError as error:
            raise ValueError("failed") from error

    with pytest.raises(ValueError, match="failed") as caught:
        fail_in_turn()
    assert held[0]() is not None
    drop_frames(caught.value)
    assert held[0]() is None


def test_an_error_that_no_handler_has_caught_ends_the_process_with_a_line_in_the_log(
    ended: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Ended), ending_if_lost():
        raise DEVICE_LOST[0]
    assert ended == [70]
    last = caplog.records[-1]
    assert (last.levelno, last.message) == (logging.CRITICAL, "The device is lost; the engine ends.")
    with pytest.raises(RuntimeError, match="shapes"), ending_if_lost():
        raise RuntimeError("shapes")
    assert ended == [70]


@pytest.mark.parametrize("where", ["load", "step"])
def test_the_engine_ends_wherever_its_device_is_lost(
    ended: list[int], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def lose() -> None:
        raise DEVICE_LOST[0]

    def opened(*_: Any, **__: Any) -> Any:
        if where == "load":
            lose()
        return SimpleNamespace(loaded=[None], step_scheduler=SimpleNamespace(busy=True, step=lose))

    monkeypatch.setattr(initial_model, "open_model_pool", opened)
    inbox = SimpleNamespace(empty=lambda: True)
    link: Any = SimpleNamespace(send=lambda *_: None, report=lambda *_: None, inbox=inbox)
    monkeypatch.setattr(engine_process.messages, "Ready", lambda info: None)
    config: Any = SimpleNamespace(settings=Settings(_env_file=None), default_model="", configured_model="")
    with pytest.raises(Ended):
        engine_process._serve(config, link, None)
    assert ended == [70]
