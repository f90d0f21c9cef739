"""What is made of a language model's answer before it is used as a prompt."""

import re

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffd]+")
QUOTES = {'"': '"', "“": "”", "「": "」", "'": "'"}


def prompt_in(answer: str) -> str:
    """Return the prompt in an answer as one line, without a model's thoughts and quotation marks; may be empty."""
    text = " ".join(UNPRINTABLE.sub(" ", _without_thoughts(answer)).split())
    first, last = text[:1], text[-1:]
    # Around the whole, not around its first and its last words.
    if len(text) > 1 and QUOTES.get(first) == last and not {first, last} & set(text[1:-1]):
        return text[1:-1].strip()
    return text


def _without_thoughts(answer: str) -> str:
    # Some templates open the thoughts themselves, so that an answer only ends them.
    _, ended, rest = answer.rpartition("</think>")
    return "" if not ended and answer.lstrip().startswith("<think>") else rest
