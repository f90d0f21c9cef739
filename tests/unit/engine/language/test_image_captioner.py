"""A vision-language encoder describes an image as the stock model does, however it is interrupted."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit
from PIL import Image

from imageserver.engine.families import family_of
from imageserver.engine.language.image_captioner import ImageCaptioner, asked, open_image_captioner
from imageserver.engine.language.language_model import LanguageModel
from imageserver.engine.models import model_choice
from imageserver.engine.models.warmup import load_and_warm_up
from imageserver.errors import GenerationFailed
from imageserver.settings import Settings
from tests.support.tiny_models import CHAT_TEMPLATE, save_as_published, silent, tiny_qwen_image, tiny_qwen_image_edit
from tests.support.tiny_qwen_image_21 import tiny_qwen_image_21

TOKENS = 12
# As Qwen publishes it with its vision-language models, in short.
VISION_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.content is string %}"
    "{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return readable(tiny_qwen_image_edit())


def readable(pipeline: Any) -> Any:
    """Return a tiny pipeline with the templates of a published one."""
    pipeline.processor.tokenizer.chat_template = CHAT_TEMPLATE
    pipeline.processor.chat_template = VISION_TEMPLATE
    return pipeline


def opened(pipeline: Any, *, stays: bool = True) -> ImageCaptioner | None:
    family = family_of(type(pipeline).__name__)
    assert family is not None
    return open_image_captioner(family.language_model(pipeline), getattr(pipeline, "processor", None), stays=stays)


def image(seed: int = 0, size: int = 112) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    return Image.fromarray(values)


def stock(pipeline: Any, shown: Image.Image, most: int = TOKENS) -> list[int]:
    """Return the tokens of the stock model without sampling."""
    processor = pipeline.processor
    inputs = processor(text=[asked(processor, "sentence")], images=[shown], return_tensors="pt")
    tokens = pipeline.text_encoder.generate(**inputs, do_sample=False, max_new_tokens=most)
    return tokens[0, inputs.input_ids.shape[1] :].tolist()


def answers_of(pipeline: Any, monkeypatch: Any) -> list[list[int]]:
    """Collect the tokens of every answer; they are read as words, as those of random weights may not be."""
    found: list[list[int]] = []
    monkeypatch.setattr("imageserver.engine.language.image_captioner.MAX_TOKENS", TOKENS)
    tokenizer = getattr(pipeline, "tokenizer", None) or pipeline.processor.tokenizer
    monkeypatch.setattr(tokenizer, "decode", lambda tokens, **_: found.append(tokens.tolist()) or "a fox")
    return found


@pytest.mark.parametrize("make", [tiny_qwen_image_edit, tiny_qwen_image_21], ids=["2.5-vl", "3-vl"])
def test_a_caption_is_the_stock_models_and_pauses_after_every_token(make: Callable[[], Any], monkeypatch: Any) -> None:
    pipeline, pauses = readable(make()), list[int]()
    captioner = opened(pipeline)
    assert captioner is not None
    answers = answers_of(pipeline, monkeypatch)
    assert captioner.write("sentence", image(), lambda: pauses.append(1)) == "a fox"
    assert answers == [stock(pipeline, image())]
    assert 1 < len(pauses) == len(answers[0]) <= TOKENS


def test_edits_and_captions_between_two_tokens_change_nothing(pipeline: Any, monkeypatch: Any) -> None:
    captioner = opened(pipeline)
    assert captioner is not None
    answers = answers_of(pipeline, monkeypatch)
    edited = torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)

    def encode() -> Any:
        return pipeline.encode_prompt("make it blue", image=edited)[0]

    alone, beside = encode(), list[Any]()

    def others() -> None:
        beside.append(encode())
        stock(pipeline, image(5, 56), most=2)

    captioner.write("sentence", image(), others)
    captioner.write("sentence", image(1), lambda: None)
    assert answers == [stock(pipeline, image()), stock(pipeline, image(1))]
    assert answers[0] != answers[1]
    assert all((each == alone).all() for each in beside)


def test_only_encoders_that_read_images_and_stay_on_the_device_describe_them(pipeline: Any) -> None:
    assert opened(pipeline) is not None
    assert opened(pipeline, stays=False) is None
    plain = tiny_qwen_image()
    # With a head, a template for conversations and no processor, as the demo model but for the template.
    plain.tokenizer.chat_template = CHAT_TEMPLATE
    assert opened(plain) is None
    no_template = tiny_qwen_image_edit()
    assert opened(no_template) is None
    # That of a model for texts shows the parts of a message as they are.
    readable(no_template).processor.chat_template = CHAT_TEMPLATE
    assert opened(no_template) is None


@pytest.mark.parametrize(
    "template", ["{{ '<|im_start|>' + messages[0].content }}", "{{ messages[0].content.x.y }}", "{%"]
)
def test_a_template_that_takes_no_image_costs_a_model_its_captions_and_not_its_images(template: str) -> None:
    processor = readable(tiny_qwen_image_edit()).processor
    language_model: Any = object()
    assert open_image_captioner(language_model, processor, stays=True) is not None
    processor.chat_template = template
    assert open_image_captioner(language_model, processor, stays=True) is None
    no_token = SimpleNamespace(chat_template=VISION_TEMPLATE)
    assert open_image_captioner(language_model, no_token, stays=True) is None


def test_tags_are_named_once_and_an_empty_answer_is_a_failure(pipeline: Any, monkeypatch: Any) -> None:
    captioner = opened(pipeline)
    assert captioner is not None
    written = ["Fox, red, fox , snow.", "<think>hm"]
    monkeypatch.setattr(LanguageModel, "answer", lambda *_: written.pop(0))
    assert captioner.write("tags", image(), lambda: None) == "fox, red, snow"
    with pytest.raises(GenerationFailed, match="nothing about the image"):
        captioner.write("tags", image(), lambda: None)


def test_a_published_model_that_edits_says_that_it_describes_images(tmp_path: Path, monkeypatch: Any) -> None:
    # Read at 256 x 256, where the pipeline reads images at a megapixel.
    read_at = pipeline_qwenimage_edit.calculate_dimensions
    monkeypatch.setattr(pipeline_qwenimage_edit, "calculate_dimensions", lambda area, ratio: read_at(area // 16, ratio))
    save_as_published(readable(tiny_qwen_image_edit()), tmp_path / "tiny")
    settings = Settings(
        _env_file=None,
        model=str(tmp_path / "tiny"),
        state_dir=tmp_path,
        device="cpu",
        max_pixels=128 * 128,
        max_batch=1,
    )
    served, info = load_and_warm_up(model_choice.find(settings, silent), silent)
    assert info.captions
    monkeypatch.setattr("imageserver.engine.language.image_captioner.MAX_TOKENS", 2)
    monkeypatch.setattr("imageserver.engine.language.image_captioner.prompt_in", lambda answer: f"[{answer}]")
    assert served.image_captioner is not None
    assert served.image_captioner.write("sentence", image(), lambda: None).startswith("[")
