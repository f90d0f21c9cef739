"""The safety checker looks at every image; what it finds unsafe is black and said, and nothing of it is previewed."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.runner.safety_checker import SafetyChecker, blackened, open_checker, sentence
from imageserver.protocol.messages import Finished, Preview
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.tiny_safety_checker import LENIENT, SEVERE, save_checker
from tests.unit.engine.conftest import Bench


def opened(folder: Path) -> SafetyChecker:
    checker = open_checker(Settings(_env_file=None, safety_checker=str(folder)), lambda *news: None)
    assert checker is not None
    return checker


def generated(bench: Bench, **fields: Any) -> tuple[Finished, np.ndarray]:
    bench.add(1, generation(**fields))
    bench.run()
    [(message, raw)] = bench.of(Finished, 1)
    return message, np.frombuffer(raw, np.uint8).reshape(-1, 64, 64, 3)


@pytest.fixture
def checked_bench(make_bench: Callable[..., Bench], tmp_path: Path) -> Callable[[float], Bench]:
    def build(threshold: float) -> Bench:
        bench = make_bench()
        bench.turns._safety = opened(save_checker(tmp_path, threshold))
        return bench

    return build


def test_an_unsafe_image_is_black_and_said(checked_bench: Callable[[float], Bench]) -> None:
    bench = checked_bench(SEVERE)
    message, images = generated(bench, count=2, previews=2)
    assert message.outcome.unsafe == (True, True)
    assert message.outcome.warnings == ("Found unsafe and sent as black (SAFETY_CHECKER): image 1, 2.",)
    assert not images.any()
    assert bench.of(Preview, 1) == []


def test_a_safe_image_stays_as_it_is(checked_bench: Callable[[float], Bench], make_bench: Any) -> None:
    message, images = generated(checked_bench(LENIENT))
    assert (message.outcome.unsafe, message.outcome.warnings) == ((False,), ())
    assert (images == generated(make_bench())[1]).all()


def test_only_the_unsafe_one_of_several_is_black() -> None:
    assert blackened(b"aabbcc", (False, True, False)) == b"aa\0\0cc"
    assert sentence((False, True, False)) == "Found unsafe and sent as black (SAFETY_CHECKER): image 2."


def test_what_is_transparent_is_seen_on_white() -> None:
    seen = []

    def look(images: list[np.ndarray], return_tensors: str) -> Any:
        seen.extend(images)
        return SimpleNamespace(pixel_values=None)

    checker = SafetyChecker(lambda clip_input, images: (images, [False] * len(images)), look)
    pixels = bytes([10, 20, 30, 255, 10, 20, 30, 0])
    assert checker.unsafe(pixels, (1, 2, 4)) == (False,)
    assert seen[0].tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_without_the_setting_nothing_is_looked_at(make_bench: Callable[..., Bench]) -> None:
    assert open_checker(Settings(_env_file=None), lambda *news: None) is None
    assert generated(make_bench())[0].outcome.unsafe == ()


@pytest.mark.parametrize("name", ["/nowhere", "{folder}"])
def test_a_checker_that_is_not_there_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"^SAFETY_CHECKER="):
        opened(Path(name.format(folder=tmp_path)))
