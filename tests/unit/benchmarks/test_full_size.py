"""The full-size model, built small: it generates."""

import torch

from benchmarks import full_size
from benchmarks.servers.generating import Wanted, generate
from tests.support.paths import DEMO_MODEL


def test_the_random_model_generates_with_every_token_of_its_tokenizer() -> None:
    pipeline = full_size.build(DEMO_MODEL, "cpu", num_layers=1, num_attention_heads=1, joint_attention_dim=896)
    assert pipeline.text_encoder.config.text_config.vocab_size >= len(pipeline.tokenizer)
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        images = generate(pipeline, [Wanted("a red circle", 0, 2, 64, 64, 1.0)])
    assert images
