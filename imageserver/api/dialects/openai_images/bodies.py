"""The request bodies of the OpenAI Images dialect, and their translation to the fields of `POST /generate`.

Source: openai-python 3.52, `openai/types/image_*_params.py`.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, WithJsonSchema

from imageserver.api.inputs.generate_request import NOT_BLANK, Generating, Seed, Side, Whole
from imageserver.api.inputs.json_body import as_object
from imageserver.api.inputs.sizes import ANY_SIZE_PATTERN, shape_fields, size_fields
from imageserver.api.inputs.validation import omittable, shown, validated, without_blanks
from imageserver.errors import BadRequest
from imageserver.generation import NO_PROMPT, Quality

B = TypeVar("B", bound="ImagesBody")


class ImagesBody(Generating, extra="allow", json_schema_extra=omittable):
    """The fields of all bodies of the dialect; unknown keys are ignored with a warning.

    Fields that only OpenAI's own service can use are accepted and ignored.
    """

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
    response_format: Literal["b64_json", "url"] | None = Field(
        None,
        description="b64_json returns the images, url the addresses of saved images; by default both, to a request for "
        "gpt-image b64_json alone.",
    )
    stream: bool = Field(False, description="Return server-sent events.")
    partial_images: Whole = Field(0, ge=0, le=3, description="Number of partial images per image; only in a stream.")
    moderation: Any = Field(None, description="Ignored.")
    style: Any = Field(None, description="Ignored.")
    user: Any = Field(None, description="Ignored.")
    safety_identifier: Any = Field(None, description="Ignored.")

    @classmethod
    def needs_prompt(cls) -> bool:
        return cls.model_fields["prompt"].is_required()


class GenerationsBody(ImagesBody):
    """The body of `POST /v1/images/generations`."""

    # The cogview4 stream has its own body and errors, so the OpenAPI document of this route leaves it out.
    stream_format: Annotated[Literal["openai", "cogview4"], WithJsonSchema({"const": "openai"})] | None = Field(
        None, description="Format of the stream: openai, or cogview4 for that of CogView4-FastAPI."
    )


class ImageReference(BaseModel, strict=True):
    """A reference to an image in JSON."""

    image_url: str | None = Field(None, description="A data URL or, if allowed, a web address.")
    file_id: str | None = Field(None, description="Not supported: this server stores no uploaded files.")


class VariationsBody(ImagesBody):
    """The body of `POST /v1/images/variations`, a form or JSON."""

    prompt: str = Field(NO_PROMPT, description="Description of the variation; none by default.")
    image: str | list[str] | None = Field(None, description="The image: a file in a form, base64 or a data URL.")
    images: list[ImageReference | str] | None = Field(None, description="The image in JSON; an edit accepts up to 16.")
    image_url: str | list[str] | None = Field(None, description="Another name for image.")
    url: str | list[str] | None = Field(None, description="Another name for image.")


class EditsBody(VariationsBody):
    """The body of `POST /v1/images/edits`, a form or JSON."""

    prompt: str = Field(description="Description of the edited image.", json_schema_extra={"pattern": NOT_BLANK})
    mask: str | ImageReference | None = Field(
        None,
        description="Mask with an alpha channel: transparent areas are regenerated; without one, those of the image.",
    )
    mask_image: str | ImageReference | None = Field(None, description="Another name for mask.")
    input_fidelity: str | None = Field(None, description="Ignored with a warning; see strength.")


def checked(model: type[B], content: Any) -> B:
    """Return the body; raises BadRequest or InvalidParameter naming the field and its limit."""
    given = _without_brackets(model, without_blanks(as_object(content)))
    if model.needs_prompt() and "prompt" not in given:
        raise BadRequest("Prompt is required", param="prompt")
    return validated(model, given)


def _without_brackets(model: type[B], given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with `image[]`, as forms name the items of a list, under the name `image`."""
    plain = {name: name.removesuffix("[]") for name in given}
    return {
        (plain[name] if plain[name] in model.model_fields and plain[name] not in given else name): value
        for name, value in given.items()
    }


def to_generate_fields(body: ImagesBody) -> dict[str, Any]:
    """Return the fields of `POST /generate` with the same meaning."""
    fields = body.model_dump(include=set(Generating.model_fields) - {"model"}, exclude_unset=True)
    # As OpenAI's own service: another image every time, the prompt unchanged, no overlay.
    fields |= {"seed": body.seed, "positive_magic": False, "add_overlay": False, "quality": body.quality_tier}
    fields["prompt"] = body.prompt or NO_PROMPT
    fields |= body.model_dump(include={"width", "height"}, exclude_none=True)
    if body.background == "transparent":
        fields["background"] = body.background
    if body.aspect_ratio is not None:
        fields |= shape_fields(body.aspect_ratio)
    if body.size is not None:
        fields |= size_fields(body.size)
    if not fields["prompt"].strip() and not body.negative_prompt.strip():
        # Guidance between two blank prompts changes nothing and doubles the time.
        fields.setdefault("true_cfg_scale", 1.0)
    return fields


def warnings_of(body: ImagesBody, files: set[str]) -> list[str]:
    """Return warnings about fields, and form `files`, that are ignored."""
    unknown = sorted({*(body.model_extra or {}), *files})
    warnings = [f"{shown(name)} is not a parameter and was ignored." for name in unknown]
    if body.stream and body.response_format == "url":
        warnings.append("response_format is ignored in a stream: images are sent as b64_json.")
    if body.partial_images and not body.stream:
        warnings.append("partial_images is ignored without stream.")
    if isinstance(body, GenerationsBody) and body.stream_format is not None and not body.stream:
        warnings.append("stream_format is ignored without stream.")
    if isinstance(body, EditsBody) and body.input_fidelity is not None:
        warnings.append("input_fidelity is ignored; use strength instead.")
    return warnings
