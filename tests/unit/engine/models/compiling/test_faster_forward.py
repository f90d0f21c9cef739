"""COMPILE=1 is used only for the sizes where it was measured to be faster."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from imageserver.engine.models.compiling.faster_forward import FasterForward, eagerly
from imageserver.engine.models.compiling.recompilations import compiled_graphs


class OneTextMerger:
    """Calls whose cost is their `tokens`; nothing is merged here."""

    def shape_of(self, call: Mapping[str, Any]) -> int:
        return int(call["tokens"])

    def batch_size(self, call: Mapping[str, Any]) -> int:
        return int(call.get("batch", 1))

    def text_length(self, call: Mapping[str, Any]) -> int:
        return 0

    def token_count(self, call: Mapping[str, Any]) -> int:
        return int(call["tokens"])

    def merge(self, calls: Any) -> dict[str, Any]:
        raise NotImplementedError


class TimedForwards:
    """A compiled and an eager forward that take given milliseconds by tokens, on a clock of their own."""

    def __init__(self, compiled: Mapping[int, float], eager: Mapping[int, float]) -> None:
        self.now = 0.0
        self._compiled, self._eager = compiled, eager

    def compiled(self, tokens: int, batch: int = 1) -> str:
        self.now += self._compiled.get(tokens, 0) / 1000
        return "compiled"

    def eager(self, tokens: int, batch: int = 1) -> str:
        self.now += self._eager.get(tokens, 0) / 1000
        return "eager"

    def measured(self, merger: Any = None, max_pixels: int = 1024 * 1024) -> FasterForward:
        forward = FasterForward(self.compiled, self.eager, merger)
        forward.measure(lambda side: {"tokens": (side // 16) ** 2}, max_pixels, lambda: self.now)
        return forward


def test_sizes_that_compiling_makes_faster_are_compiled_and_the_others_stay_eager(
    caplog: pytest.LogCaptureFixture,
) -> None:
    forwards = TimedForwards({1024: 65, 2304: 100, 4096: 180}, {1024: 114, 2304: 121, 4096: 183})
    with caplog.at_level(logging.INFO):
        forward = forwards.measured(OneTextMerger())
    assert forward.compiled_sides == (512, 768)
    assert [forward(tokens=tokens) for tokens in (256, 1024, 2304, 4096, 9000)] == [
        "compiled", "compiled", "compiled", "eager", "eager",
    ]  # fmt: skip
    assert forward(tokens=1024, batch=8) == "eager", "a batch costs as much as one large image"
    assert "a 512x512 forward takes 65.0 ms compiled and 114.0 ms eager; it is compiled." in caplog.text
    assert "180.0 ms compiled and 183.0 ms eager; that is less than 10 % faster, so it stays eager." in caplog.text


def test_a_model_that_compiling_does_not_make_faster_stays_eager_for_every_size() -> None:
    forward = TimedForwards({1024: 120, 2304: 121, 4096: 180}, {1024: 114, 2304: 121, 4096: 183}).measured(
        OneTextMerger()
    )
    assert forward.compiled_sides == ()
    assert {forward(tokens=tokens) for tokens in (16, 1024, 4096, 70000)} == {"eager"}


@pytest.mark.parametrize(("compiled", "expected"), [(50.0, "compiled"), (99.0, "eager")])
def test_without_a_merger_one_size_decides_for_all(compiled: float, expected: str) -> None:
    forward = TimedForwards({1024: compiled}, {1024: 100}).measured()
    assert {forward(tokens=tokens) for tokens in (16, 4096)} == {expected}


def test_a_size_below_the_smallest_probed_one_is_measured_where_no_larger_is_allowed() -> None:
    forward = TimedForwards({256: 5}, {256: 10}).measured(OneTextMerger(), max_pixels=256 * 256)
    assert forward.compiled_sides == (256,)


def test_an_eager_forward_of_compiled_modules_compiles_nothing_and_has_the_same_result() -> None:
    doubled = torch.compile(lambda rows: rows * 2 + 1, backend="eager")
    before, eager = compiled_graphs(), eagerly(lambda rows: doubled(rows))
    assert torch.equal(eager(rows=torch.ones(2, 3)), torch.full((2, 3), 3.0))
    assert compiled_graphs() == before
    doubled(torch.ones(2, 3))
    assert compiled_graphs() == before + 1
    assert torch.equal(eager(rows=torch.ones(5, 3)), torch.full((5, 3), 3.0))
    assert compiled_graphs() == before + 1
