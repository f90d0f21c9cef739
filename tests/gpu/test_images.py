"""Images of a card against those of the plain pipeline, alone and in shared forwards, in the card's own format."""

from pathlib import Path

import numpy as np
import pytest
import torch

from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine
from tests.support.tiny_models import load

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def engine(device: str, tiny_model: Path) -> TinyEngine:
    """A tiny model in bfloat16."""
    return TinyEngine(load(Settings(_env_file=None, model=str(tiny_model), device=device, dtype="bfloat16")).pipeline)


def test_a_deterministic_image_is_the_plain_pipelines_to_the_bit_with_noise_from_the_cpu(engine: TinyEngine) -> None:
    """`plain` calls `pipe()` with `torch.Generator("cpu")`, as the server does; a CUDA generator gives other noise."""
    for wanted in (generation(deterministic=True), generation(deterministic=True, width=96, height=64, seed=7)):
        assert (engine.generate(wanted)[0] == engine.plain(wanted)).all()


def test_a_generator_of_the_card_gives_another_image_for_the_same_seed(engine: TinyEngine, card: str) -> None:
    noise = [torch.randn(64, generator=torch.Generator(kind).manual_seed(1), device=kind) for kind in ("cpu", card)]
    assert not torch.equal(noise[0], noise[1].cpu())


def test_an_image_of_a_shared_forward_is_within_one_percent_of_the_one_alone(engine: TinyEngine) -> None:
    wanted = [generation(seed=1), generation("a big red circle", seed=2), generation(seed=3)]
    alone = [engine.generate(one)[0] for one in wanted]
    together = engine.generate(*wanted)
    assert max(engine.batches) > 1, "the texts differ in length, so the forward was masked"
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one - other).mean() / 255 < 0.01
