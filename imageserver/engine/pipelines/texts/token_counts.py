"""Count the tokens of a generation, for its result and its warnings."""

from dataclasses import dataclass, replace
from typing import Any

from imageserver.engine.pipelines.generated_size import generated_size
from imageserver.generation import Generation


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of the prompt that were read, tokens of all images, and warnings for the client."""

    prompt_tokens: int
    image_tokens: int
    warnings: tuple[str, ...] = ()


def count_tokens(
    tokenizer: Any, most: int, generation: Generation, *, latent_side: int, max_tokens: int | None = None
) -> TokenUsage:
    """Return the usage of a model that reads the first `most` tokens; an image's token is `latent_side` pixels wide.

    An image of more than `max_tokens` is generated smaller. The negative prompt is read only with guidance, that
    is above 1.
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
        warnings.append("negative_prompt has no effect without guidance.")
    width, height = generated_size(generation.width, generation.height, latent_side, max_tokens)
    if width < generation.width or height < generation.height:
        warnings.append(
            f"The model generates at most {max_tokens} tokens: {width}x{height} was generated and enlarged."
        )
    return TokenUsage(
        prompt_tokens=min(counts["prompt"], most),
        image_tokens=(width // latent_side) * (height // latent_side) * generation.count,
        warnings=tuple(warnings),
    )


def count_tokens_of_distilled(
    tokenizer: Any, most: int, generation: Generation, *, latent_side: int, reads_guidance: bool = False
) -> TokenUsage:
    """Return the usage of a model into which guidance was distilled, and warn of the parameters that it ignores."""
    unread = []
    if generation.negative_prompt.strip():
        unread.append("negative_prompt has no effect: the model does not read it.")
    if generation.true_cfg_scale > 1 and not reads_guidance:
        unread.append("guidance_scale has no effect: the model was distilled to generate without it.")
    read = replace(generation, negative_prompt="", true_cfg_scale=0.0)
    usage = count_tokens(tokenizer, most, read, latent_side=latent_side)
    return replace(usage, warnings=(*usage.warnings, *unread))


def tokens_before_prompt(tokenizer: Any) -> int:
    """Return how many tokens a chat template puts before the prompt."""
    marked = tokenizer.apply_chat_template([{"role": "user", "content": "PROMPT"}], tokenize=False)
    return len(tokenizer(marked.partition("PROMPT")[0]).input_ids)
