"""The options of an image as OpenAI's clients write them, and their translation to the fields of `POST /generate`.

Source: openai-python 3.52, `openai/types/image_*_params.py` and `openai/types/responses/tool.py`.
"""

import re
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from imageserver.api.inputs.generate_request import GenerationOptions, Seed, Side
from imageserver.api.inputs.sizes import ANY_SIZE_PATTERN, shape_fields, size_fields
from imageserver.api.inputs.validation import MAX_BLANKS, omittable, shown, with_own_names, without_blanks
from imageserver.generation import NO_PROMPT, Quality

# What the clients of other services with this API, such as Together and SiliconFlow, call its fields.
OTHER_NAMES = {
    "batch_size": "n",
    "num_images": "n",
    "steps": "num_inference_steps",
}
# Read only where it is one: some services have words for it, such as 1K or landscape_4_3.
OTHER_SIZE = "image_size"


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

    @property
    def has_size(self) -> bool:
        """Whether a size was asked for, beside which `aspect_ratio` means nothing."""
        return bool(size_fields(self.size or "auto")) or not (self.width is None and self.height is None)


class ImageReference(BaseModel, strict=True):
    """A reference to an image in JSON; OpenRouter's and xAI's clients send `{"image_url": {"url"}}` and `{"url"}`."""

    image_url: str | None = Field(None, description="A data URL or, if allowed, a web address.")
    file_id: str | None = Field(None, description="Not supported: this server stores no uploaded files.")

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        sent = without_blanks(given)
        address = sent.get("image_url", sent.get("url"))
        return given | {"image_url": address.get("url") if isinstance(address, dict) else address}


def with_our_names(content: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a body under our names; what cannot be read keeps its name, so that a warning has it."""
    size = _size_in(content.get(OTHER_SIZE))
    if size is None:
        return with_own_names(content, OTHER_NAMES)
    return with_own_names(content | {OTHER_SIZE: size}, OTHER_NAMES | {OTHER_SIZE: "size"})


def _size_in(given: Any) -> str | None:
    match given:
        case {"width": int(width), "height": int(height)}:
            given = f"{width}x{height}"
    # To match 32 MiB of blanks took 0.9 s.
    is_short = isinstance(given, str) and len(given) <= MAX_BLANKS
    return given if is_short and re.fullmatch(ANY_SIZE_PATTERN, given) else None


def generate_fields(options: OpenAIOptions, prompt: str, shape: str | None = None) -> dict[str, Any]:
    """Return the fields of `POST /generate` with the same meaning, but for the model.

    `shape` is what `aspect_ratio` means where it is left out.
    """
    fields = options.model_dump(include=set(GenerationOptions.model_fields) - {"model"}, exclude_unset=True)
    # As OpenAI's own service: another image every time, the prompt unchanged, no overlay.
    fields |= {"seed": options.seed, "positive_magic": False, "add_overlay": False, "quality": options.quality_tier}
    fields["prompt"] = prompt or NO_PROMPT
    fields |= options.model_dump(include={"width", "height"}, exclude_none=True)
    if options.background == "transparent":
        fields["background"] = options.background
    shape = options.aspect_ratio or shape
    if options.size is not None:
        fields |= size_fields(options.size)
    if shape is not None and not options.has_size:
        fields |= shape_fields(shape)
    if not fields["prompt"].strip() and not options.negative_prompt.strip():
        # Guidance between two blank prompts changes nothing and doubles the time.
        fields.setdefault("true_cfg_scale", 1.0)
    return fields


def ignored_shape(options: OpenAIOptions) -> list[str]:
    """Return a warning about an `aspect_ratio` beside a size."""
    return ["aspect_ratio is ignored beside a size."] if options.aspect_ratio is not None and options.has_size else []


def unknown_fields(body: BaseModel, *further: str, ignored: frozenset[str] = frozenset()) -> list[str]:
    """Return a warning for every field that the body does not know and that is not `ignored` on purpose."""
    unknown = sorted({*(body.model_extra or {}), *further} - ignored)
    return [f"{shown(name)} is not a parameter and was ignored." for name in unknown]
