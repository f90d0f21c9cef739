"""Let a language model that reads prompts predict no words for every token: pipelines take its hidden states alone.

Qwen-Image's text encoder knows 152,064 words: their logits are 321 MB for a prompt of 1058 tokens, in bfloat16.
"""

import inspect
from typing import Any

import torch

from imageserver.engine.pipelines.types import Pipeline


def skip_unread_words(pipeline: Pipeline) -> None:
    """Let the pipeline's language models predict a word for their last token only; they cannot leave that out too."""
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module) and _predicts_every_word(component):
            component.register_forward_pre_hook(_keep_last_token, with_kwargs=True)


def _predicts_every_word(component: torch.nn.Module) -> bool:
    # A pipeline may be customized again, and share its text encoder with another one.
    hooked = _keep_last_token in component._forward_pre_hooks.values()
    return not hooked and "logits_to_keep" in inspect.signature(type(component).forward).parameters


def _keep_last_token(
    module: torch.nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    # `generate`, which describes the image of a layered model, asks for the same by itself.
    return arguments, {"logits_to_keep": 1} | options
