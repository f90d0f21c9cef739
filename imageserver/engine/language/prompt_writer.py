"""Better prompts for generations; where none can be written, the generation keeps its own."""

import logging
from dataclasses import dataclass, replace

from imageserver.engine.device_errors import drop_frames, end_if_lost
from imageserver.engine.language.language_model import LanguageModel, NothingWritten, Pause
from imageserver.enhancement.answer import prompt_in
from imageserver.enhancement.enhancement import UNAVAILABLE, failure
from imageserver.enhancement.instructions import instructions_for
from imageserver.enhancement.recent_answers import RecentAnswers
from imageserver.generation import Generation

logger = logging.getLogger(__name__)

# About twice the 120 words that the templates ask for.
MAX_TOKENS = 256


class PromptWriter:
    """Rewrites prompts with a loaded language model, and keeps the last ones: the same prompt has the same answer."""

    def __init__(self, model: LanguageModel, *, max_chars: int, edits: bool = False) -> None:
        """Write up to `max_chars` for a model that generates from text, or `edits` the images of a request."""
        self._model = model
        self._max_chars = max_chars
        self._edits = edits
        self._recent = RecentAnswers()

    def write(self, prompt: str, credential: str, *, with_image: bool, pause: Pause) -> str:
        """Return the better prompt for a client; raises NothingWritten, and whatever the model raises."""
        edits = self._edits and with_image
        # For each client apart: the speed of an answer would tell what another has asked.
        question = (credential, edits, prompt)
        answer = self._recent.find(question)
        if answer is None:
            answer = prompt_in(self._model.write(instructions_for(prompt, edits=edits), prompt, MAX_TOKENS, pause))
            self._recent.keep(question, answer)
        if not answer:
            raise NothingWritten("the language model wrote nothing")
        if len(answer) > self._max_chars:
            raise NothingWritten(f"the language model wrote {len(answer)} characters, more than MAX_PROMPT_CHARS")
        return answer


@dataclass(frozen=True)
class Enhanced:
    """A generation with the prompt that it is generated from; `revised` is empty where that is its own."""

    generation: Generation
    revised: str = ""
    warning: str = ""


def open_prompt_writer(model: LanguageModel | None, *, max_chars: int, edits: bool, stays: bool) -> PromptWriter | None:
    """Return what writes with a model's text encoder; None without one, or where it does not stay on the device.

    Each token needs all of its weights: moved in for every one, 15 GB take seconds a token and push the denoiser out.
    """
    return PromptWriter(model, max_chars=max_chars, edits=edits) if model is not None and stays else None


def enhanced(generation: Generation, credential: str, writer: PromptWriter | None, pause: Pause) -> Enhanced:
    """Return a generation with its better prompt, or with its own and a warning."""
    wanted = generation.enhancement
    plain = replace(generation, enhancement=None)
    if wanted is None:
        return Enhanced(plain)
    revised, warning = wanted.revised, ""
    if not revised and writer is None:
        warning = UNAVAILABLE
    elif not revised and writer is not None:
        try:
            with_image = generation.source is not None
            revised = writer.write(wanted.prompt, credential, with_image=with_image, pause=pause)
        except Exception as error:
            end_if_lost(error)
            drop_frames(error)
            logger.warning("A prompt could not be enhanced: %s.", type(error).__name__)
            warning = failure(_reason(error))
    if not revised:
        return Enhanced(plain, warning=warning)
    revised = wanted.fitted(revised)
    return Enhanced(replace(plain, prompt=revised + wanted.suffix), revised)


def _reason(error: Exception) -> str:
    """Return the reason for the client; the texts of errors other than ours may quote anything."""
    return str(error) if isinstance(error, NothingWritten) else type(error).__name__
