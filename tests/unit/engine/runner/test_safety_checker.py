"""The safety checker looks at every image; what it finds unsafe is black and said, and nothing of it is previewed."""

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
from tests.support.tiny_engine import TinyEngine
from tests.support.tiny_safety_checker import LENIENT, SEVERE, save_checker


def opened(folder: Path) -> SafetyChecker:
    checker = open_checker(Settings(_env_file=None, safety_checker=str(folder)), lambda *news: None)
    assert checker is not None
    return checker


def test_an_unsafe_image_is_black_and_said(engine: TinyEngine, tmp_path: Path) -> None:
    checked = TinyEngine(engine.pipeline, safety=opened(save_checker(tmp_path, SEVERE)))
    [images] = checked.generate(generation(count=2, previews=2))
    [(message, _)] = checked.of(Finished)
    assert message.outcome.unsafe == (True, True)
    assert message.outcome.warnings == ("Found unsafe and sent as black (SAFETY_CHECKER): image 1, 2.",)
    assert not images.any()
    assert checked.of(Preview) == []


def test_a_safe_image_stays_as_it_is(engine: TinyEngine, tmp_path: Path) -> None:
    checked = TinyEngine(engine.pipeline, safety=opened(save_checker(tmp_path, LENIENT)))
    [image] = checked.generate(generation())
    [(message, _)] = checked.of(Finished)
    assert (message.outcome.unsafe, message.outcome.warnings) == ((False,), ())
    assert (image == engine.generate(generation())[0]).all()


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


def test_without_the_setting_nothing_is_looked_at(engine: TinyEngine) -> None:
    assert open_checker(Settings(_env_file=None), lambda *news: None) is None
    engine.generate(generation())
    [(message, _)] = engine.of(Finished)
    assert message.outcome.unsafe == ()


@pytest.mark.parametrize("name", ["/nowhere", "{folder}"])
def test_a_checker_that_is_not_there_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"^SAFETY_CHECKER="):
        opened(Path(name.format(folder=tmp_path)))
