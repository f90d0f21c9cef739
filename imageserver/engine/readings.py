"""What a model reads of a generation: told with its pictures."""

from dataclasses import dataclass
from typing import Any

from imageserver.generation import Generation


@dataclass(frozen=True)
class Reading:
    """Tokens of the prompt that were read, tokens that all pictures are made of, and what the client should know."""

    prompt_tokens: int
    image_tokens: int
    warnings: tuple[str, ...] = ()


def count_tokens(tokenizer: Any, most: int, generation: Generation, *, latent_side: int) -> Reading:
    """Return the reading of a model that reads the first `most` tokens; a picture's token is `latent_side` pixels wide.

    The negative prompt is read with guidance only.
    """
    texts = {"prompt": generation.prompt}
    guided = generation.true_cfg_scale > 1
    if guided:
        texts["negative_prompt"] = generation.negative_prompt
    # Without a limit of its own: the tokenizer would cut, or warn into the log.
    counts = {name: len(tokenizer(text, truncation=False, verbose=False).input_ids) for name, text in texts.items()}
    warnings = [
        f"{name} has {count} tokens; the model read the first {most}." for name, count in counts.items() if count > most
    ]
    if not guided and generation.negative_prompt.strip():
        warnings.append("negative_prompt has no effect with a guidance of 1 or less.")
    columns, rows = -(-generation.width // latent_side), -(-generation.height // latent_side)
    return Reading(
        prompt_tokens=min(counts["prompt"], most),
        image_tokens=columns * rows * generation.count,
        warnings=tuple(warnings),
    )
