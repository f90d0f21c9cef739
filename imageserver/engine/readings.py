"""What a model reads of a generation: told with its pictures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """Tokens of the prompt that were read, tokens that all pictures are made of, and what the client should know."""

    prompt_tokens: int
    image_tokens: int
    warnings: tuple[str, ...] = ()
