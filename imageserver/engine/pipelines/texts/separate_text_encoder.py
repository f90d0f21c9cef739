"""A text encoder that a model's own folder does not contain, such as HiDream-I1's Llama (TEXT_ENCODER_PATH)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from imageserver.engine.downloads import ModelUnavailable, Report, locate
from imageserver.registry import Hub
from imageserver.settings import Settings


@dataclass(frozen=True)
class SeparateTextEncoder:
    """The component names of the encoder and its tokenizer, its title in messages, and its loading options."""

    component: str
    tokenizer: str
    title: str
    options: dict[str, Any] = field(default_factory=dict)


def find(
    wanted: SeparateTextEncoder | None, model: str, folder: Path, settings: Settings, report: Report, hub: Hub | None
) -> Path | None:
    """Return the folder of the text encoder; None where the model needs none or has its own.

    An id is looked up on the model's `hub`. Raises ModelUnavailable where TEXT_ENCODER_PATH is empty or wrong.
    """
    if wanted is None or any((folder / wanted.component).glob("*.safetensors")):
        return None
    if not settings.text_encoder_path:
        raise ModelUnavailable(
            f"{model} needs {wanted.title}, which is published separately: set TEXT_ENCODER_PATH to its folder or id."
        )
    found = locate(settings.text_encoder_path, settings, report, setting="TEXT_ENCODER_PATH", hub=hub)
    if not any(found.glob("*.safetensors")):
        raise ModelUnavailable(f"TEXT_ENCODER_PATH={settings.text_encoder_path} has no safetensors weights.")
    return found


def load(wanted: SeparateTextEncoder, folder: Path, dtype: torch.dtype, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the text encoder, loaded with `options`, and its tokenizer under the names of their components."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=dtype, use_safetensors=True, local_files_only=True, **wanted.options, **options
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return {wanted.component: model, wanted.tokenizer: tokenizer}
