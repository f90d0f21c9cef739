"""Four cards compute one guided image: two on each of the two calls of a step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from imageserver.engine.card_group.card_group import CardGroup
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.full_mode import needs_full_mode
from tests.support.tiny_models import save_tiny_qwen_image
from tests.support.tiny_pool import TinyPool

GUIDED = generation(
    "a blue house in the snow", negative_prompt="blurry", width=128, height=128, steps=4, true_cfg_scale=4.0, seed=2
)


@needs_full_mode
def test_four_cards_generate_the_images_of_one(tmp_path: Path):
    settings = Settings(
        _env_file=None, model=str(save_tiny_qwen_image(tmp_path / "qwen")), device="cpu", state_dir=tmp_path / "state",
        max_pixels=256 * 256, max_batch=4,
    )  # fmt: skip
    threads, group = torch.get_num_threads(), CardGroup(("cpu",) * 4, settings)
    try:
        together, alone = TinyPool(settings, group=group), TinyPool(settings)
        cards = together.pool.served_model(together.names[-1]).cards
        assert cards is not None
        assert cards.size == 4
        # The tiny model has two heads, which four cards could not divide among them.
        cards.shared_from = {2: 0}
        for wanted in (GUIDED, replace(GUIDED, true_cfg_scale=1.0)):
            before = together.pool.step_scheduler.forwards
            [image], [expected] = together.generate(wanted), alone.generate(wanted)
            assert together.pool.step_scheduler.forwards - before == wanted.steps
            first, second = (np.frombuffer(raw, np.uint8).astype(int) for raw in (image, expected))
            assert int(np.abs(first - second).max()) <= 1
        assert (group.size, group.losses, cards.shared_from) == (4, 0, {2: 0})
    finally:
        group.close()
        torch.set_num_threads(threads)
