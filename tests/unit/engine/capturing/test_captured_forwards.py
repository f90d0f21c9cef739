"""Captured forwards give the same images, only where that is faster, and within their memory."""

import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImagePipeline

from imageserver.engine.capturing import captured_forwards
from imageserver.engine.capturing.captured_forwards import EAGER_CALLS, MAX_FAILURES, CapturedForwards
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFolder
from tests.support.factories import generation
from tests.support.fake_graphs import FakeGraphs
from tests.support.tiny_engine import TinyEngine
from tests.support.tiny_loras import save_lora

STEPS = 6


class Doubler:
    """A forward that doubles its tensor and says nothing else."""

    def __init__(self, graphs: FakeGraphs, max_bytes: int = 10_000) -> None:
        self.version = 0
        self.in_use = "base"
        self.captured = CapturedForwards(
            self._forward, graphs, max_bytes, lambda: (self.version, self.in_use), graphs.clock
        )
        self._graphs = graphs

    def _forward(self, states: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        self._graphs.spend()
        return (states * 2,)

    def __call__(self, rows: int, times: int = EAGER_CALLS + 1, **arguments: Any) -> None:
        """Compute calls of one kind and check every result."""
        for value in range(times):
            states = torch.full((rows, 2), float(value))
            assert torch.equal(self.captured(states=states, **arguments)[0], states * 2)


@pytest.fixture
def graphs() -> FakeGraphs:
    return FakeGraphs()


@pytest.fixture
def captured(engine: TinyEngine, graphs: FakeGraphs) -> CapturedForwards:
    """The captured forwards of the shared tiny model."""
    return capturing(engine, graphs)


def capturing(engine: TinyEngine, graphs: FakeGraphs) -> CapturedForwards:
    adapters = engine.adapters
    engine.before_forward = graphs.spend
    engine.model.captured = CapturedForwards(
        engine.forward, graphs, 10_000, adapters.weights if adapters else lambda: (None, None), graphs.clock
    )
    return engine.model.captured


def test_images_have_the_same_bits_and_most_of_their_forwards_are_replayed(
    pipeline: QwenImagePipeline, engine: TinyEngine, graphs: FakeGraphs, captured: CapturedForwards
) -> None:
    wanted = [generation(steps=STEPS, seed=seed) for seed in (1, 2)]
    images = [engine.generate(one)[0] for one in wanted]
    assert graphs.captures == len(captured) == 2, "the prompt and the negative prompt differ in length"
    assert graphs.replays >= 2 * STEPS
    for one, image in zip(wanted, images, strict=True):
        assert (image == engine.plain(one)).all()


def test_images_of_one_forward_are_captured_too(
    engine: TinyEngine, graphs: FakeGraphs, captured: CapturedForwards
) -> None:
    wanted = [generation(steps=STEPS, seed=seed, true_cfg_scale=1.0) for seed in (1, 2)]
    images = engine.generate(*wanted)
    assert graphs.replays > 0
    engine.model.captured = None
    assert all((one == other).all() for one, other in zip(images, engine.generate(*wanted), strict=True))


def test_a_deterministic_image_is_never_captured(
    engine: TinyEngine, graphs: FakeGraphs, captured: CapturedForwards
) -> None:
    engine.generate(generation(steps=STEPS, deterministic=True))
    assert graphs.tried == 0


def test_a_call_of_another_shape_or_value_is_another_kind(graphs: FakeGraphs) -> None:
    double = Doubler(graphs)
    for rows in (1, 2):
        double(rows)
    double(1, guidance=None)
    double(1, grid=[(1, 2, 3)])
    double(1, grid=[(1, 2, 4)])
    double.in_use = "lora"
    double(1)
    assert graphs.captures == 6
    replays = graphs.replays
    double(1, times=3)
    assert (graphs.captures, graphs.replays) == (6, replays + 3)


def test_results_survive_the_next_replay(graphs: FakeGraphs) -> None:
    double = Doubler(graphs)
    double(1)
    first = double.captured(states=torch.ones(1, 2))[0]
    double.captured(states=torch.zeros(1, 2))
    assert torch.equal(first, torch.full((1, 2), 2.0))


def test_a_kind_that_is_not_faster_stays_eager_and_the_log_has_both_times(caplog: pytest.LogCaptureFixture) -> None:
    graphs = FakeGraphs(eager=0.1, replayed=0.095)
    double = Doubler(graphs)
    with caplog.at_level(logging.INFO):
        double(1, times=9)
    assert (graphs.captures, len(double.captured)) == (1, 0)
    assert "states (1, 2) stay eager: captured 95.0 ms, eager 100.0 ms" in caplog.text


def test_a_kind_that_cannot_be_captured_stays_eager_with_one_line_in_the_log(
    graphs: FakeGraphs, caplog: pytest.LogCaptureFixture
) -> None:
    graphs.error = RuntimeError("operation not permitted when stream is capturing\nmore")
    double = Doubler(graphs)
    double(1, times=9)
    assert [record.message for record in caplog.records] == [
        "Forwards of states (1, 2) cannot be captured and stay eager: operation not permitted when stream is capturing"
    ]
    for rows in range(2, 9):
        double(rows)
    assert graphs.tried == MAX_FAILURES, "arguments that always fail are not tried with every new text"
    graphs.error = None
    double(1, guidance=1.0)
    assert len(double.captured) == 1, "other arguments are"


def test_a_capture_for_which_memory_is_too_short_leaves_it_to_the_call(graphs: FakeGraphs) -> None:
    taken: list[weakref.ref[torch.Tensor]] = []
    left: list[bool] = []

    def capture(compute: Callable[[], Any]) -> Any:
        private_memory = torch.zeros(9)
        taken.append(weakref.ref(private_memory))
        raise torch.OutOfMemoryError("full")

    def forward(states: torch.Tensor) -> tuple[torch.Tensor]:
        left.extend(tensor() is not None for tensor in taken)
        return (states,)

    graphs.capture = capture  # type: ignore[method-assign]
    captured = CapturedForwards(forward, graphs, 10_000)
    for _ in range(EAGER_CALLS + 1):
        captured(states=torch.ones(1))
    assert left == [False]


def test_what_a_graph_cannot_depend_on_is_computed_as_before(graphs: FakeGraphs) -> None:
    double = Doubler(graphs)
    double(1, times=9, cache=object())
    double(1, times=9, elsewhere=torch.ones(1, device="meta"))
    assert graphs.tried == 0


def test_a_result_that_no_replay_can_give_again_stays_eager(graphs: FakeGraphs) -> None:
    captured = CapturedForwards(lambda states: (states, object()), graphs, 10_000)
    for _ in range(EAGER_CALLS + 1):
        assert torch.equal(captured(states=torch.ones(1))[0], torch.ones(1))
    assert (graphs.tried, len(captured)) == (1, 0)


def test_the_graph_that_was_used_least_recently_makes_room(graphs: FakeGraphs) -> None:
    double = Doubler(graphs, max_bytes=3000)
    for rows in (1, 2, 3):
        double(rows)
    double(1, times=1)
    double(4)
    assert (len(double.captured), double.captured.bytes) == (3, 3000)
    captures = graphs.captures
    double(1, times=1)
    assert graphs.captures == captures, "still there"
    double(2)
    assert graphs.captures == captures + 1, "and the one that had gone comes back after as many calls as before"


def test_there_are_only_so_many_graphs_however_small(graphs: FakeGraphs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured_forwards, "MAX_GRAPHS", 2)
    double = Doubler(graphs)
    for rows in (1, 2, 3):
        double(rows)
    assert len(double.captured) == 2


def test_a_graph_that_would_take_all_the_memory_is_not_kept(graphs: FakeGraphs) -> None:
    double = Doubler(graphs, max_bytes=999)
    double(1, times=9)
    assert (graphs.captures, len(double.captured)) == (1, 0)


def test_only_so_many_kinds_of_calls_are_remembered(graphs: FakeGraphs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured_forwards, "MAX_KINDS", 2)
    double = Doubler(graphs)
    for rows in (1, 2, 3, 1):
        double(rows, times=EAGER_CALLS)
    assert graphs.tried == 0


def test_other_weights_end_every_graph(graphs: FakeGraphs) -> None:
    double = Doubler(graphs)
    double(1)
    double.version = 1
    double(1, times=1)
    assert len(double.captured) == 0
    double(1)
    assert len(double.captured) == 1


def test_loras_are_captured_by_themselves_and_leave_no_trace(
    pipeline: QwenImagePipeline, engine: TinyEngine, graphs: FakeGraphs, tmp_path: Path
) -> None:
    save_lora(tmp_path, "red", pipeline)
    folder = LoraFolder(tmp_path)
    # Without room for two, no step is computed in one forward, which would round differently.
    adapted = TinyEngine(pipeline, adapters=LoraAdapters(pipeline, "transformer", folder), cap=1)
    digest = folder.find("red").digest
    with_lora = [generation(steps=STEPS, loras=(Lora(name="red", digest=digest, scale=scale),)) for scale in (1.0, 0.5)]
    wanted = [generation(steps=STEPS), *with_lora, generation(steps=STEPS)]
    expected = [adapted.generate(one)[0] for one in wanted]
    assert adapted.adapters is not None
    adapted.adapters.unload("red")
    captured = capturing(adapted, graphs)
    for _ in range(2):
        for one, image in zip(wanted, expected, strict=True):
            assert np.array_equal(adapted.generate(one)[0], image)
    assert len(captured) == 6, "three sets of LoRAs, each with a prompt and a negative prompt"
    adapted.adapters.unload("red")
    adapted.generate(generation(steps=2))
    assert len(captured) == 0
