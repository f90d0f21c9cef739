"""Captions are written between the forwards of images, in jobs that generate none."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imageserver.generation import CaptionForm, Generation, Source
from imageserver.protocol.messages import Finished, Started
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine

TOKENS = 8
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


class ScriptedCaptioner:
    """Writes what it was asked for in `TOKENS` tokens, and keeps the images."""

    def __init__(self, token: Callable[[], None] = lambda: None) -> None:
        self.images: list[Any] = []
        self.token = token
        self.written = 0

    def write(self, form: CaptionForm, image: Image.Image, pause: Callable[[], None]) -> str:
        self.images.append(np.asarray(image))
        for _ in range(TOKENS):
            self.token()
            self.written += 1
            pause()
        return f"a {form}"


def described(form: CaptionForm = "sentence") -> tuple[Generation, bytes]:
    wanted = generation(
        "", width=64, height=48, steps=0, count=0, caption=form, source=Source(strength=1.0, digest="x")
    )
    return wanted, PIXELS.tobytes()


@pytest.fixture
def captioner() -> ScriptedCaptioner:
    return ScriptedCaptioner()


@pytest.fixture
def describing(engine: TinyEngine, captioner: ScriptedCaptioner) -> TinyEngine:
    return TinyEngine(engine.pipeline, image_captioner=captioner)


def test_a_caption_is_about_the_image_that_was_sent_and_costs_its_device_time(engine: TinyEngine) -> None:
    captioner = ScriptedCaptioner(lambda: time.sleep(0.01))
    describing = TinyEngine(engine.pipeline, image_captioner=captioner)
    describing.add(0, described("tags"))
    describing.run()
    [(finished, pixels)] = describing.of(Finished)
    outcome = finished.outcome
    assert (outcome.caption, outcome.seeds, outcome.warnings, pixels) == ("a tags", (), (), b"")
    assert (outcome.width, outcome.height) == (64, 48)
    assert (captioner.images[0] == PIXELS).all()
    assert outcome.device_time >= TOKENS * 0.01
    assert describing.batches == []
    # It says nothing about the images that fit.
    assert describing.model.largest_generated == 0
    assert not describing.scheduler.busy


def test_an_image_beside_it_waits_for_one_token_a_forward_and_stays_the_same(
    describing: TinyEngine, captioner: ScriptedCaptioner, monkeypatch: Any
) -> None:
    monkeypatch.setattr("imageserver.engine.batching.writing_share.SHARE", 0.0)
    tokens_at_forward: list[int] = []
    describing.before_forward = lambda: tokens_at_forward.append(captioner.written)
    beside = generation(steps=6, true_cfg_scale=1.0, seed=3)
    describing.add(0, beside)
    describing.add(1, described())
    describing.run()
    assert tokens_at_forward == [1, 2, 3, 4, 5, 6]
    assert (describing.result(0) == describing.plain(beside)).all()
    assert describing.of(Finished, 1)[0][0].outcome.caption == "a sentence"


def test_one_that_is_cancelled_ends_at_the_next_token(describing: TinyEngine, captioner: ScriptedCaptioner) -> None:
    describing.add(1, described())
    describing.step(3)
    assert len(describing.of(Started, 1)) == 1
    describing.scheduler.cancel(1)
    assert not describing.scheduler.busy
    assert describing.result(1).code == "cancelled"
    assert captioner.written == 3


def test_one_that_fails_ends_alone(engine: TinyEngine) -> None:
    def fail() -> None:
        raise RuntimeError("secret words")

    describing = TinyEngine(engine.pipeline, image_captioner=ScriptedCaptioner(fail))
    beside = generation(steps=2, true_cfg_scale=1.0)
    image, failure = describing.generate(beside, described())
    assert failure.code == "generation_failed"
    assert "secret" not in failure.sentence
    assert (image == describing.plain(beside)).all()


def test_a_model_that_describes_no_images_refuses_it(engine: TinyEngine) -> None:
    [failure] = engine.generate(described())
    assert (failure.code, failure.param) == ("not_found", None)
    assert "no model of this server describes images" in failure.sentence
