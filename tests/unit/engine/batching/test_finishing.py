"""A finished image leaves the device before somebody else's forward begins, and its decoding is its own time."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from imageserver.generation import Outcome
from imageserver.protocol.messages import Finished
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine

DECODING_SECONDS = 0.4


class WithoutFloats(TorchDispatchMode):
    """Refuses operations on floats, which are the device's."""

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        assert not any(each.is_floating_point() for each in arguments if isinstance(each, torch.Tensor)), operation
        return operation(*arguments, **(options or {}))


def test_the_finishing_thread_needs_nothing_of_the_device(engine: TinyEngine) -> None:
    finishing: list[Callable[[], None]] = []
    engine.in_background = finishing.append
    wanted = generation(deterministic=True)
    engine.add(0, wanted)
    engine.run()
    [finish] = finishing
    with WithoutFloats():
        finish()
    assert (engine.result(0) == engine.plain(wanted)).all()


def test_a_slow_decoding_is_charged_to_its_own_image(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, slow = engine.pipeline.vae.decode, True

    def decode_slowly_at_first(*arguments: Any, **options: Any) -> Any:
        nonlocal slow
        if slow:
            slow = False
            time.sleep(DECODING_SECONDS)
        return decode(*arguments, **options)

    monkeypatch.setattr(engine.pipeline.vae, "decode", decode_slowly_at_first)
    engine.generate(generation(steps=2), generation(steps=12, seed=2))
    first, neighbour = (_outcome(engine, job) for job in (0, 1))
    forwards = [_seconds_of_forwards(engine, job) for job in (0, 1)]
    assert forwards[0] + DECODING_SECONDS <= first.device_time < forwards[0] + 2 * DECODING_SECONDS
    assert forwards[1] <= neighbour.device_time < forwards[1] + DECODING_SECONDS
    assert first.inference_time > DECODING_SECONDS


def _outcome(engine: TinyEngine, job: int) -> Outcome:
    [(finished, _)] = engine.of(Finished, job)
    outcome: Outcome = finished.outcome
    return outcome


def _seconds_of_forwards(engine: TinyEngine, job: int) -> float:
    return sum(
        (ended - began) / len(calls) * [owner for owner, _ in calls].count(job) for began, ended, calls in engine.trace
    )
