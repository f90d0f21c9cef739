"""What the OpenAI Images dialect is sent, and what that is in the terms of the native body.

Source: openai-python 3.52, `openai/types/image_*_params.py`.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from imageserver.api.inputs.generate_request import NOT_BLANK, SIZE_PATTERN, Generating, Seed, Whole
from imageserver.api.inputs.validation import nullable, validated, without_nulls
from imageserver.errors import BadRequest
from imageserver.generation import Quality

B = TypeVar("B", bound="ImagesBody")

# Every model can generate after an image without being told what: this is Qwen's own way of saying nothing.
NO_PROMPT = " "


class ImagesBody(Generating):
    """What all of the dialect's bodies share; unknown keys are ignored with a warning.

    What is OpenAI's alone and has no meaning here is taken and has no effect.
    """

    model_config = ConfigDict(strict=True, extra="allow", json_schema_extra=nullable)

    model: str | None = Field(
        None, description="Name of a model, see /v1/models; one that is unknown means the usual one."
    )
    seed: Seed | None = Field(None, description="Random seed; generated if left out.")
    size: str | None = Field(
        None,
        pattern=rf"^auto$|{SIZE_PATTERN}",
        description="WIDTHxHEIGHT, or auto: 512x512, or the size of the image sent.",
    )
    quality: str | None = Field(None, description="One of OpenAI's names; without effect, see quality_tier.")
    quality_tier: Quality = Field(
        "exact", description="exact computes every block; high and fast skip what changes little."
    )
    background: Literal["auto", "opaque"] | None = Field(
        None, description="auto and opaque are the same; the model cannot generate transparent ones."
    )
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="b64_json answers the images themselves (the default), url the addresses of saved files."
    )
    stream: bool = Field(False, description="Answer server-sent events.")
    partial_images: Whole = Field(
        0, ge=0, le=3, description="How often each image is shown on its way; only in a stream."
    )
    moderation: Any = Field(None, description="Without effect.")
    style: Any = Field(None, description="Without effect.")
    user: Any = Field(None, description="Without effect.")
    safety_identifier: Any = Field(None, description="Without effect.")

    @classmethod
    def needs_prompt(cls) -> bool:
        """Return whether a body without a prompt is refused."""
        return cls.model_fields["prompt"].is_required()


class GenerationsBody(ImagesBody):
    """What `POST /v1/images/generations` takes."""

    # The body and the errors of the other stream are that dialect's own, so the document of this one leaves it out.
    stream_format: Annotated[Literal["openai", "cogview4"], WithJsonSchema({"const": "openai"})] | None = Field(
        None, description="Whose events a stream speaks: openai's, or with cogview4 those of CogView4-FastAPI."
    )


class ImageReference(BaseModel):
    """An image named in JSON."""

    model_config = ConfigDict(strict=True)

    image_url: str | None = Field(None, description="A data URL or, where allowed, a web address.")
    file_id: str | None = Field(None, description="Refused: this server keeps no uploaded files.")


class VariationsBody(ImagesBody):
    """What `POST /v1/images/variations` takes, as a form or as JSON."""

    prompt: str = Field(NO_PROMPT, description="What the variation should show; nothing by default.")
    image: str | list[str] | None = Field(None, description="An image: a file of the form, base64 or a data URL.")
    images: list[ImageReference] | None = Field(None, description="The image, in JSON; an edit takes up to 16.")


class EditsBody(VariationsBody):
    """What `POST /v1/images/edits` takes, as a form or as JSON."""

    prompt: str = Field(description="What the image should become.", json_schema_extra={"pattern": NOT_BLANK})
    mask: str | ImageReference | None = Field(
        None, description="An image with an alpha channel: what is transparent there is regenerated."
    )
    input_fidelity: str | None = Field(None, description="Ignored with a warning; strength says how much is changed.")


def checked(model: type[B], content: Any) -> B:
    """Return the body; raises BadRequest or InvalidParameter naming the field and its limit."""
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    given = without_nulls(content)
    if model.needs_prompt() and given.get("prompt", "") == "":
        raise BadRequest("Prompt is required", param="prompt")
    return validated(model, given)


def to_generate_fields(body: ImagesBody) -> dict[str, Any]:
    """Return the native body that means the same."""
    fields = body.model_dump(include=set(Generating.model_fields) - {"model"}, exclude_unset=True)
    # What OpenAI's own service does: another image every time, the prompt as it is, no panel.
    fields |= {"seed": body.seed, "positive_magic": False, "add_overlay": False, "quality": body.quality_tier}
    fields["prompt"] = body.prompt or NO_PROMPT
    if body.size not in (None, "auto"):
        fields["size"] = body.size
    if not fields["prompt"].strip() and not body.negative_prompt.strip():
        # Guidance between two blanks changes nothing and takes as long as the image.
        fields.setdefault("true_cfg_scale", 1.0)
    return fields


def warnings_of(body: ImagesBody, files: set[str]) -> list[str]:
    """Return what the client should know of fields, and of the form's `files`, that change nothing."""
    unknown = sorted({*(body.model_extra or {}), *files})
    warnings = [f"{ascii(name)[:80]} is not a parameter and was ignored." for name in unknown]
    if body.stream and body.response_format == "url":
        warnings.append("response_format is ignored in a stream: images travel as b64_json.")
    if body.partial_images and not body.stream:
        warnings.append("partial_images is ignored without stream.")
    if isinstance(body, GenerationsBody) and body.stream_format is not None and not body.stream:
        warnings.append("stream_format is ignored without stream.")
    if isinstance(body, EditsBody) and body.input_fidelity is not None:
        warnings.append("input_fidelity is ignored; strength says how much of the image is changed.")
    return warnings
