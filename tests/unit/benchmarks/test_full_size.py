"""The full-size model, built small: it generates."""

import pytest
import torch

from benchmarks import full_size
from benchmarks.gpu.eight_bits import restore
from benchmarks.servers.generating import Wanted, generate
from tests.support.paths import DEMO_MODEL


def test_the_random_model_generates_with_every_token_of_its_tokenizer() -> None:
    smaller = {"num_layers": 1, "num_attention_heads": 1, "joint_attention_dim": 896, "vae_width": 16}
    pipeline = full_size.build(DEMO_MODEL, "cpu", **smaller)
    assert pipeline.text_encoder.config.text_config.vocab_size >= len(pipeline.tokenizer)
    weights = sum(
        parameter.nbytes
        for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder)
        for parameter in part.parameters()
    )
    assert full_size.weight_bytes(DEMO_MODEL, **smaller) == weights
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        images = generate(pipeline, [Wanted("a red circle", 0, 2, 64, 64, 1.0)])
    assert images
    before = {name: weight.clone() for name, weight in pipeline.transformer.state_dict().items()}
    # Stands for weights of 8 bits.
    pipeline.transformer.proj_out.weight = torch.nn.Parameter(torch.zeros(1))
    restore(pipeline.transformer)
    after = pipeline.transformer.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_a_card_is_measured_only_with_room_for_the_real_number_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    needed = full_size.weight_bytes(DEMO_MODEL) + full_size.WORKING_BYTES
    assert 38 < (needed - full_size.WORKING_BYTES) / full_size.GIB < 40, "20 billion parameters in bfloat16"
    for free, sentence in (
        (needed - 2**30, "the full-size model needs 48 GiB and the card has 47 GiB free."),
        (needed, None),
    ):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, 2 * free))
        assert full_size.reason_against(DEMO_MODEL) == sentence
