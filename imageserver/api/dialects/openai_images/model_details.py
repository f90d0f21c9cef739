"""What a form needs to know of one model: its defaults, and what it generates from."""

from typing import Any

from pydantic import Field

import aspect_ratios
from imageserver.api.dialects.openai_images.responses import OpenAIModel
from imageserver.api.schemas import ResponseSchema
from imageserver.generation import ModelInfo


class ModelDefaults(ResponseSchema):
    """What a request gets that does not set it."""

    steps: int
    guidance_scale: float
    width: int
    height: int


class ModelDetails(ResponseSchema):
    """What is known of a model that was loaded once."""

    defaults: ModelDefaults
    draws_from: list[str] = Field(description="What it generates from, as in `GET /info`.")
    images: int = Field(description="Images of one request that it sees each by itself.")
    layers: int = Field(description="Number of layers that it separates an image into; 0 for other models.")
    sampler: str = Field(description="Its own noise scheduler.")
    schedulers: dict[str, str] = Field(description="The noise schedulers that fit, with their diffusers classes.")


class DetailedModel(OpenAIModel):
    """A model with its details."""

    enhance: bool = Field(
        description="Whether prompts can be rewritten for it: by ENHANCE_URL, or by its own text encoder, known "
        "once it was loaded."
    )
    details: ModelDetails | None = Field(description="Its defaults and abilities; null until it was loaded once.")


def details_of(info: ModelInfo | None) -> dict[str, Any] | None:
    """Return the details of a model, None where it was never loaded."""
    if info is None:
        return None
    width, height = info.default_size or aspect_ratios.size_of(aspect_ratios.DEFAULT_ASPECT_RATIO)
    defaults = ModelDefaults(
        steps=info.default_steps, guidance_scale=info.default_true_cfg_scale, width=width, height=height
    )
    return ModelDetails(
        defaults=defaults,
        draws_from=list(info.kinds),
        images=info.max_images,
        layers=info.layers,
        sampler=info.sampler,
        schedulers=info.schedulers,
    ).model_dump()
