"""A text encoder that is a whole language model: its embeddings are read, the words it would predict are not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from imageserver.engine.families import FAMILIES
from tests.support.tiny_flux2_klein import tiny_flux2_klein
from tests.support.tiny_models import tiny_hidream, tiny_qwen_image
from tests.support.tiny_qwen_image_21 import tiny_qwen_image_21

BY_NAME = {family.name: family for family in FAMILIES}
PROMPT = "a red circle on a blue background"
# Families that read a prompt by a language model, each of a class of its own, with its name in the pipeline.
READERS: dict[str, tuple[Callable[[], Any], str]] = {
    "qwen-image": (tiny_qwen_image, "text_encoder"),
    "qwen-image-2.1": (tiny_qwen_image_21, "text_encoder"),
    "flux.2-klein": (tiny_flux2_klein, "text_encoder"),
    "hidream-i1": (tiny_hidream, "text_encoder_4"),
}


def read(pipeline: Any, component: str) -> tuple[list[torch.Tensor], list[int]]:
    """Return the embeddings of a prompt, and for how many tokens the model predicted a word."""
    predicted: list[int] = []
    handle = getattr(pipeline, component).lm_head.register_forward_hook(
        lambda head, arguments, words: predicted.append(words.shape[1])
    )
    texts = dict.fromkeys(("prompt_2", "prompt_3", "prompt_4"), PROMPT) if component.endswith("_4") else {}
    with torch.no_grad():
        encoded = pipeline.encode_prompt(PROMPT, **texts)
    handle.remove()
    parts = [part for value in encoded for part in (value if isinstance(value, list) else [value])]
    return [part for part in parts if isinstance(part, torch.Tensor)], predicted


@pytest.mark.parametrize("name", READERS)
def test_a_prompt_costs_one_predicted_word_and_its_embeddings_are_equal_to_the_bit(name: str) -> None:
    build, component = READERS[name]
    pipeline = build()
    before, every_token = read(pipeline, component)
    BY_NAME[name].customize(pipeline)
    after, last_token = read(pipeline, component)
    assert min(every_token) > 1
    assert set(last_token) == {1}
    assert len(after) > 0
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_pipeline_that_is_customized_twice_is_hooked_once() -> None:
    pipeline = tiny_qwen_image()
    for _ in range(2):
        BY_NAME["qwen-image"].customize(pipeline)
    assert len(pipeline.text_encoder._forward_pre_hooks) == 1
