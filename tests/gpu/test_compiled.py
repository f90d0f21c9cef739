"""COMPILE=1 on a card: nothing is compiled while clients wait, also with a mask, and images stay what they were."""

from pathlib import Path

import numpy as np
import pytest

from imageserver.engine.models.compiling import faster_forward
from imageserver.protocol.messages import Finished
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.tiny_pool import TinyPool

pytestmark = pytest.mark.gpu


@pytest.mark.timeout(240)
def test_a_shared_forward_with_a_mask_was_compiled_before_the_first_request(
    card: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tiny blocks may be no faster, and would stay eager.
    monkeypatch.setattr(faster_forward, "MIN_GAIN", 0.0)
    settings = Settings(
        _env_file=None, model=str(tiny_model), device=card, compile=True, state_dir=tmp_path, max_pixels=512 * 512
    )
    opened = TinyPool(settings)
    opened.generate(generation(width=512, height=512))
    opened.generate(generation(width=512, height=512), generation("a big red circle", width=512, height=512))
    batches = {message.outcome.batch_size for message, _ in opened.of(Finished)}
    assert batches == {2}
    assert opened.pool.usage().recompilations == 0


@pytest.mark.timeout(240)
def test_a_compiled_image_is_within_one_percent_of_the_eager_one(
    card: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faster_forward, "MIN_GAIN", 0.0)
    wanted = generation(width=512, height=512, true_cfg_scale=1.0)

    def pixels(*, compiled: bool) -> np.ndarray:
        settings = Settings(
            _env_file=None, model=str(tiny_model), device=card, compile=compiled, state_dir=tmp_path,
            max_pixels=512 * 512,
        )  # fmt: skip
        [image] = TinyPool(settings).generate(wanted)
        return np.frombuffer(image, np.uint8).astype(int)

    eager, compiled = pixels(compiled=False), pixels(compiled=True)
    assert np.abs(eager - compiled).mean() / 255 < 0.01
