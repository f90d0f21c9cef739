"""A generation in OpenAI's terms: how its images are described, and the tokens that it took.

Source: openai-python 3.52, `openai/types/images_response.py`.
"""

from dataclasses import dataclass
from typing import Any

from imageserver.api.generation.run import GenerationRequest
from imageserver.generation import Outcome

# The quality tiers in OpenAI's terms.
QUALITIES = {"exact": "high", "high": "medium", "fast": "low"}


@dataclass(frozen=True)
class Tokens:
    """The tokens of some images: of the prompt, of the image started from, and of the images themselves."""

    text: int
    source: int
    generated: int

    @property
    def total(self) -> int:
        return self.text + self.source + self.generated


def described(generation_request: GenerationRequest, outcome: Outcome | None = None) -> dict[str, Any]:
    """Return the fields that describe the images of a request, for a response and for every event."""
    generation, output_format = generation_request.generation, generation_request.output_options.output_format
    transparent = outcome is not None and outcome.channels == 4 and output_format != "jpeg"
    return {
        "background": "transparent" if transparent else "opaque",
        "output_format": output_format,
        "quality": QUALITIES[generation.quality],
        "size": "{}x{}".format(*generation.answer_size),
    }


def tokens_of(generation_request: GenerationRequest, outcome: Outcome, images: range) -> Tokens:
    """Return the tokens of some images; the input counts for the first image, so that those of all add up."""
    # Every layer is an image here.
    per_image = outcome.image_tokens // len(outcome.seeds)
    first = images.start == 0
    has_source = first and generation_request.generation.source is not None
    return Tokens(
        text=outcome.prompt_tokens if first else 0,
        source=per_image if has_source else 0,
        generated=per_image * len(images),
    )
