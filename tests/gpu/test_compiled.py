"""COMPILE=1 on a card: nothing is compiled while clients wait, also where a shared forward needs a mask."""

from pathlib import Path

import pytest

from imageserver.engine.models import faster_forward
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
