"""A text encoder that is a whole language model, and its tokenizer: it writes texts, a token at a time."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

# Called after every token.
Pause = Callable[[], None]

# They are all read in one forward, which nothing interrupts and whose memory nobody has planned for.
MAX_READ_TOKENS = 1024


class NothingWritten(Exception):
    """There is no text; the message says why and quotes nothing."""


class LanguageModel:
    """Writes answers with the stock `generate`, always the likeliest token."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def write(self, instructions: str, text: str, most: int, pause: Pause) -> str:
        """Return the answer to a text after some instructions, of at most so many tokens.

        `pause` may let others compute; what it raises ends the answer. Raises NothingWritten for a text that is too
        long to be read at once, and whatever the model raises.
        """
        if len(self._tokenizer(text, add_special_tokens=False)["input_ids"]) > MAX_READ_TOKENS:
            raise NothingWritten("the prompt is too long to be rewritten")
        messages = [{"role": "system", "content": instructions}, {"role": "user", "content": text}]
        # Models that think aloud first know the switch, the templates of others ignore it.
        asked = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        inputs = self._tokenizer(asked, add_special_tokens=False, return_tensors="pt")
        return self.answer(inputs, most, pause)

    def answer(self, inputs: Any, most: int, pause: Pause) -> str:
        """Return the answer to tokens as the model reads them, which may stand for an image too; as `write` does."""
        inputs = inputs.to(self._model.device)
        tokens = self._model.generate(
            **inputs,
            max_new_tokens=most,
            do_sample=False,
            # Of a model's own configuration; without sampling transformers would warn of them.
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=self._tokenizer.pad_token_id,
            stopping_criteria=StoppingCriteriaList([_Pauses(pause)]),
        )
        answer: str = self._tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return answer


class _Pauses(StoppingCriteria):  # type: ignore[misc, unused-ignore]
    """Stops nothing: `generate` asks after every token, which is where it can be suspended."""

    def __init__(self, pause: Pause) -> None:
        self._pause = pause

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._pause()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def open_language_model(encoder: Any, tokenizer: Any) -> LanguageModel | None:
    """Return a text encoder as a language model; None where it has no head for tokens or was taught no conversation.

    The demo model's encoder has a head, but no chat template: it was trained to encode alone.
    """
    can_generate = getattr(encoder, "can_generate", None)
    if can_generate is None or not can_generate() or not getattr(tokenizer, "chat_template", None):
        return None
    return LanguageModel(encoder, tokenizer)
