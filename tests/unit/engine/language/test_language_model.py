"""A text encoder that is a whole language model writes what the stock model generates, however it is interrupted."""

from typing import Any

import pytest
import torch
from diffusers import QwenImagePipeline

from imageserver.engine.families import family_of
from imageserver.engine.language.language_model import (
    MAX_READ_TOKENS,
    LanguageModel,
    NothingWritten,
    open_language_model,
)
from tests.support.tiny_models import (
    CHAT_TEMPLATE,
    byte_tokenizer,
    tiny_hidream,
    tiny_qwen_image_edit,
    tiny_stable_diffusion,
    tiny_z_image,
)

TOKENS = 12


@pytest.fixture
def tokenizer() -> Any:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def answers_of(model: LanguageModel, monkeypatch: Any) -> list[list[int]]:
    """Collect the tokens of every answer."""
    found: list[list[int]] = []
    decode = model._tokenizer.decode
    monkeypatch.setattr(
        model._tokenizer, "decode", lambda tokens, **options: found.append(tokens.tolist()) or decode(tokens, **options)
    )
    return found


def generated(pipeline: QwenImagePipeline, tokenizer: Any, instructions: str, text: str) -> list[int]:
    """Return the tokens of the stock model without sampling."""
    messages = [{"role": "system", "content": instructions}, {"role": "user", "content": text}]
    inputs = tokenizer(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), return_tensors="pt"
    )
    tokens = pipeline.text_encoder.generate(
        **inputs, do_sample=False, max_new_tokens=TOKENS, pad_token_id=tokenizer.pad_token_id
    )
    return tokens[0, inputs.input_ids.shape[1] :].tolist()


def test_an_answer_is_the_stock_models_and_pauses_after_every_token(
    pipeline: QwenImagePipeline, tokenizer: Any, monkeypatch: Any
) -> None:
    model, pauses = LanguageModel(pipeline.text_encoder, tokenizer), []
    answers = answers_of(model, monkeypatch)
    model.write("Rewrite.", "a red fox", TOKENS, lambda: pauses.append(1))
    assert answers == [generated(pipeline, tokenizer, "Rewrite.", "a red fox")]
    assert 1 < len(pauses) == len(answers[0]) <= TOKENS


def test_a_text_that_is_too_long_to_be_read_at_once_is_not_read(
    pipeline: QwenImagePipeline, tokenizer: Any, monkeypatch: Any
) -> None:
    model, texts = LanguageModel(pipeline.text_encoder, tokenizer), ["a" * MAX_READ_TOKENS, "a" * (MAX_READ_TOKENS + 1)]
    monkeypatch.setattr(model, "answer", lambda inputs, *_: f"{inputs['input_ids'].shape[1]} tokens")
    assert model.write("Rewrite.", texts[0], TOKENS, lambda: None).endswith("tokens")
    with pytest.raises(NothingWritten, match="too long to be rewritten"):
        model.write("Rewrite.", texts[1], TOKENS, lambda: None)


def test_texts_and_images_that_are_encoded_between_two_tokens_change_nothing(tokenizer: Any, monkeypatch: Any) -> None:
    pipeline = tiny_qwen_image_edit()
    model = LanguageModel(pipeline.text_encoder, tokenizer)
    answers = answers_of(model, monkeypatch)
    image = torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)

    def encode() -> Any:
        return pipeline.encode_prompt("make it blue", image=image)[0]

    alone = encode()
    model.write("Rewrite.", "a red fox", TOKENS, lambda: None)
    beside: list[Any] = []
    model.write("Rewrite.", "a red fox", TOKENS, lambda: beside.append(encode()))
    assert answers[0] == answers[1] == generated(pipeline, tokenizer, "Rewrite.", "a red fox")
    assert all((each == alone).all() for each in beside)


def test_an_encoder_without_a_head_or_without_a_conversation_writes_nothing(
    pipeline: QwenImagePipeline, tokenizer: Any
) -> None:
    assert open_language_model(pipeline.text_encoder, tokenizer) is not None
    assert open_language_model(pipeline.text_encoder, byte_tokenizer()) is None
    for other in (tiny_stable_diffusion(), tiny_z_image()):
        family = family_of(type(other).__name__)
        assert family is not None
        assert family.language_model(other) is None


def test_hidreams_llama_is_a_language_model() -> None:
    pipeline = tiny_hidream()
    family = family_of(type(pipeline).__name__)
    assert family is not None
    pipeline.tokenizer_4.chat_template = CHAT_TEMPLATE
    model = family.language_model(pipeline)
    assert model is not None
    assert isinstance(model.write("Rewrite.", "a fox", 3, lambda: None), str)
