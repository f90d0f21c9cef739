"""A model that is loaded says whether it can improve prompts, and then does."""

from pathlib import Path
from typing import Any

import pytest

from imageserver.engine.language.language_model import LanguageModel
from imageserver.engine.language.prompt_writer import open_prompt_writer
from imageserver.engine.models import model_choice
from imageserver.engine.models.warmup import load_and_warm_up
from imageserver.settings import Settings
from tests.support.tiny_models import CHAT_TEMPLATE, silent, tiny_qwen_image


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_published_models_encoder_writes_also_with_tied_weights(
    tmp_path: Path, monkeypatch: Any, is_tied: bool
) -> None:
    pipeline = tiny_qwen_image()
    pipeline.tokenizer.chat_template = CHAT_TEMPLATE
    pipeline.text_encoder.config.tie_word_embeddings = is_tied
    pipeline.text_encoder.config.text_config.tie_word_embeddings = is_tied
    if is_tied:
        pipeline.text_encoder.tie_weights()
    pipeline.save_pretrained(tmp_path / "tiny")
    settings = Settings(
        _env_file=None,
        model=str(tmp_path / "tiny"),
        state_dir=tmp_path,
        device="cpu",
        max_pixels=128 * 128,
        max_batch=1,
    )
    served, info = load_and_warm_up(model_choice.find(settings, silent), silent)
    assert info.enhances
    assert served.prompt_writer is not None
    monkeypatch.setattr("imageserver.engine.language.prompt_writer.MAX_TOKENS", 4)
    pauses: list[int] = []
    # Random weights may write nothing that can be read.
    monkeypatch.setattr("imageserver.engine.language.prompt_writer.prompt_in", lambda answer: f"[{answer}]")
    written = served.prompt_writer.write("a fox", "", with_image=False, pause=lambda: pauses.append(1))
    assert written.startswith("[")
    assert 1 <= len(pauses) <= 4


def test_an_encoder_that_waits_in_ram_is_not_moved_for_every_token() -> None:
    model = LanguageModel(object(), object())
    assert open_prompt_writer(model, max_chars=1000, edits=False, stays=False) is None
    assert open_prompt_writer(None, max_chars=1000, edits=False, stays=True) is None
    assert open_prompt_writer(model, max_chars=1000, edits=False, stays=True) is not None
