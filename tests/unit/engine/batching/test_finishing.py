"""A finished image leaves the device before somebody else's forward begins, and its decoding is its own time."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from imageserver.engine.batching import running_job, step_scheduler
from imageserver.generation import Outcome
from imageserver.protocol.messages import Finished, Run
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine


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


@pytest.fixture
def decodings(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the next decodings take, on a clock on which every forward takes one second."""
    now, decode = 0.0, engine.pipeline.vae.decode
    seconds: list[float] = []

    def compute() -> None:
        nonlocal now
        now += 1

    def timed_decode(*arguments: Any, **options: Any) -> Any:
        nonlocal now
        now += seconds.pop(0)
        return decode(*arguments, **options)

    engine.before_forward = compute
    monkeypatch.setattr(engine.pipeline.vae, "decode", timed_decode)
    for module in (step_scheduler, running_job):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    return seconds


def test_a_slow_decoding_is_charged_to_its_own_image(engine: TinyEngine, decodings: list[float]) -> None:
    decodings[:] = [100.0, 0.0]
    engine.generate(generation(steps=2), generation(steps=12, seed=2))
    first, neighbour = (_outcome(engine, job) for job in (0, 1))
    assert first.device_time == pytest.approx(_seconds_of_forwards(engine, 0) + 100)
    assert neighbour.device_time == pytest.approx(_seconds_of_forwards(engine, 1))
    assert first.inference_time >= 100


def test_the_stages_of_an_image_add_up_to_its_time(engine: TinyEngine, decodings: list[float]) -> None:
    decodings[:] = [100.0, 0.0]
    engine.generate(generation(steps=2), generation(steps=12, seed=2))
    first, neighbour = (_outcome(engine, job) for job in (0, 1))
    for outcome in (first, neighbour):
        spent = outcome.stage_seconds
        assert spent.text + spent.denoise + spent.decode == pytest.approx(outcome.inference_time)
    assert first.stage_seconds.decode == 100
    # The neighbour waited meanwhile between two of its steps.
    assert neighbour.stage_seconds.denoise >= 100
    assert neighbour.stage_seconds.decode == 0


def test_a_slow_decoding_counts_for_the_share_of_its_client(engine: TinyEngine, decodings: list[float]) -> None:
    decodings[:] = [10.0] * 2 + [0.0]
    alone = {"deterministic": True, "true_cfg_scale": 1.0}
    for job in (0, 1):
        engine.scheduler.add(Run(job=job, generation=generation(steps=1, **alone), credential="ann"))
    engine.scheduler.add(Run(job=2, generation=generation(steps=30, **alone), credential="bob"))
    engine.run()
    owners = [owner for _, _, [(owner, _)] in engine.trace]
    between = owners[owners.index(0) + 1 : owners.index(1)]
    assert between.count(2) >= 9


def _outcome(engine: TinyEngine, job: int) -> Outcome:
    [(finished, _)] = engine.of(Finished, job)
    outcome: Outcome = finished.outcome
    return outcome


def _seconds_of_forwards(engine: TinyEngine, job: int) -> float:
    return sum(
        (ended - began) / len(calls) * [owner for owner, _ in calls].count(job) for began, ended, calls in engine.trace
    )
