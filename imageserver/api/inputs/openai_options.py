"""The options of an image as OpenAI's clients write them, and their translation to the fields of `POST /generate`.

Source: openai-python 3.52, `openai/types/image_*_params.py` and `openai/types/responses/tool.py`.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from imageserver.api.inputs.generate_request import GenerationOptions, Seed, Side
from imageserver.api.inputs.sizes import ANY_SIZE_PATTERN, shape_fields, size_fields
from imageserver.api.inputs.validation import omittable, shown
from imageserver.generation import NO_PROMPT, Quality


class OpenAIOptions(GenerationOptions, extra="allow", json_schema_extra=omittable):
    """The options of an image in OpenAI's APIs; unknown keys are ignored with a warning."""

    model: str | None = Field(
        None, description="Name of a model from /v1/models; an unknown name means the default model."
    )
    seed: Seed | None = Field(None, description="Random seed; random if omitted.")
    size: str | None = Field(
        None,
        pattern=ANY_SIZE_PATTERN,
        description="WIDTHxHEIGHT, a shape such as 16:9, or auto: the size of the image sent, otherwise 512x512.",
    )
    width: Side | None = Field(None, description="Exact width in pixels, with `height`.")
    height: Side | None = Field(None, description="Exact height in pixels, with `width`.")
    aspect_ratio: str | None = Field(None, description="A shape such as 16:9, or a named size of /info.")
    quality: str | None = Field(None, description="Ignored; see quality_tier.")
    quality_tier: Quality = Field(
        "exact", description="exact computes every block; high and fast skip blocks that change little."
    )
    background: Literal["auto", "opaque", "transparent"] | None = Field(
        None, description="transparent keeps the transparency that some models generate; others warn."
    )
    moderation: Any = Field(None, description="Ignored.")


class ImageReference(BaseModel, strict=True):
    """A reference to an image in JSON."""

    image_url: str | None = Field(None, description="A data URL or, if allowed, a web address.")
    file_id: str | None = Field(None, description="Not supported: this server stores no uploaded files.")


def generate_fields(options: OpenAIOptions, prompt: str) -> dict[str, Any]:
    """Return the fields of `POST /generate` with the same meaning, but for the model."""
    fields = options.model_dump(include=set(GenerationOptions.model_fields) - {"model"}, exclude_unset=True)
    # As OpenAI's own service: another image every time, the prompt unchanged, no overlay.
    fields |= {"seed": options.seed, "positive_magic": False, "add_overlay": False, "quality": options.quality_tier}
    fields["prompt"] = prompt or NO_PROMPT
    fields |= options.model_dump(include={"width", "height"}, exclude_none=True)
    if options.background == "transparent":
        fields["background"] = options.background
    if options.aspect_ratio is not None:
        fields |= shape_fields(options.aspect_ratio)
    if options.size is not None:
        fields |= size_fields(options.size)
    if not fields["prompt"].strip() and not options.negative_prompt.strip():
        # Guidance between two blank prompts changes nothing and doubles the time.
        fields.setdefault("true_cfg_scale", 1.0)
    return fields


def unknown_fields(body: BaseModel, *further: str, ignored: frozenset[str] = frozenset()) -> list[str]:
    """Return a warning for every field that the body does not know and that is not `ignored` on purpose."""
    unknown = sorted({*(body.model_extra or {}), *further} - ignored)
    return [f"{shown(name)} is not a parameter and was ignored." for name in unknown]
