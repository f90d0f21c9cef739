"""The request bodies of the OpenAI Images dialect, and their translation to the fields of `POST /generate`.

Source: openai-python 3.52, `openai/types/image_*_params.py`.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, WithJsonSchema

from imageserver.api.inputs.generate_request import MAX_UPSCALE, NOT_BLANK, Fraction, Prompted, Whole
from imageserver.api.inputs.json_body import as_object
from imageserver.api.inputs.openai_options import (
    ImageReference,
    OpenAIOptions,
    generate_fields,
    ignored_shape,
    unknown_fields,
    with_our_names,
)
from imageserver.api.inputs.upscale import DEFAULT_FACTOR, DEFAULT_STRENGTH
from imageserver.api.inputs.validation import validated, without_blanks
from imageserver.errors import BadRequest, InvalidParameter
from imageserver.generation import NO_PROMPT

B = TypeVar("B", bound="ImagesBody")

Named = str | ImageReference | list[ImageReference | str]

# The names of the image to start from; Together's, OpenRouter's and xAI's clients have others than OpenAI's.
IMAGE_FIELDS = ("images", "image", "image_url", "url", "reference_images", "input_references")
# One image is a list of one, as in `image`.
NamedList = Annotated[
    list[ImageReference | str] | None,
    BeforeValidator(lambda given: [given] if isinstance(given, str | dict) else given, json_schema_input_type=Named),
]
# Together's name for it.
AS_BASE64 = BeforeValidator(lambda given: "b64_json" if given == "base64" else given)


class ImagesBody(OpenAIOptions, Prompted):
    """The fields of all bodies of the dialect; unknown keys are ignored with a warning.

    Fields that only OpenAI's own service can use are accepted and ignored.
    """

    response_format: Annotated[Literal["b64_json", "url"], AS_BASE64] | None = Field(
        None,
        description="b64_json returns the images, url the addresses of saved images; by default both, to a request for "
        "gpt-image b64_json alone.",
    )
    stream: bool = Field(False, description="Return server-sent events.")
    partial_images: Whole = Field(0, ge=0, le=3, description="Number of partial images per image; only in a stream.")
    style: Any = Field(None, description="Ignored.")
    user: Any = Field(None, description="Ignored.")
    safety_identifier: Any = Field(None, description="Ignored.")
    image: Named | None = Field(
        None,
        description="The image to start from: a file in a form, base64 or a data URL. Up to 16; a variation has one.",
    )
    images: NamedList = Field(None, description="The same in JSON.")
    image_url: Named | None = Field(None, description="Another name for image.")
    url: Named | None = Field(None, description="Another name for image.")
    reference_images: NamedList = Field(None, description="Another name for images.")
    input_references: NamedList = Field(None, description="Another name for images.")

    @classmethod
    def needs_prompt(cls) -> bool:
        return cls.model_fields["prompt"].is_required()


class GenerationsBody(ImagesBody):
    """The body of `POST /v1/images/generations`."""

    # The cogview4 stream has its own body and errors, so the OpenAPI document of this route leaves it out.
    stream_format: Annotated[Literal["openai", "cogview4"], WithJsonSchema({"const": "openai"})] | None = Field(
        None, description="Format of the stream: openai, or cogview4 for that of CogView4-FastAPI."
    )


class VariationsBody(ImagesBody):
    """The body of `POST /v1/images/variations`, a form or JSON."""

    prompt: str = Field(NO_PROMPT, description="Description of the variation; none by default.")


class EditsBody(VariationsBody):
    """The body of `POST /v1/images/edits`, a form or JSON."""

    prompt: str = Field(description="Description of the edited image.", json_schema_extra={"pattern": NOT_BLANK})
    mask: str | ImageReference | None = Field(
        None,
        description="Mask with an alpha channel: transparent areas are regenerated; without one, those of the image.",
    )
    mask_image: str | ImageReference | None = Field(None, description="Another name for mask.")
    input_fidelity: str | None = Field(None, description="Ignored with a warning; see strength.")


class UpscaleBody(VariationsBody):
    """The body of `POST /v1/images/upscale`, a form or JSON."""

    prompt: str = Field(NO_PROMPT, description="Description of the image, for the details; none by default.")
    upscale: Fraction = Field(DEFAULT_FACTOR, gt=1, le=MAX_UPSCALE, description="How many times as large.")
    upscale_strength: Fraction = Field(
        DEFAULT_STRENGTH, ge=0, le=1, description="How much the model may change; 0 only enlarges, with Lanczos."
    )
    strength: Fraction | None = Field(None, description="Another name for upscale_strength.", gt=0, le=1)

    def upscale_fields(self) -> dict[str, Any]:
        """Return the fields of `POST /generate` that enlarge the image."""
        strength = self.upscale_strength if self.strength is None else self.strength
        return {"upscale": self.upscale, "upscale_strength": strength}


def checked(model: type[B], content: Any) -> B:
    """Return the body; raises BadRequest or InvalidParameter naming the field and its limit."""
    given = with_our_names(_without_brackets(model, without_blanks(as_object(content))))
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


def refuse_image(content: dict[str, Any], stream_format: str) -> None:
    """Raise InvalidParameter for a body that names an image, from which the stream of another dialect cannot start."""
    sent = _without_brackets(GenerationsBody, without_blanks(content))
    if name := next((each for each in IMAGE_FIELDS if sent.get(each)), None):
        raise InvalidParameter(
            f"stream_format: the {stream_format} stream starts from no image; send openai, or leave {name} out.",
            param="stream_format",
        )


def to_generate_fields(body: ImagesBody) -> dict[str, Any]:
    """Return the fields of `POST /generate` with the same meaning."""
    return generate_fields(body, body.prompt)


def warnings_of(body: ImagesBody, files: set[str]) -> list[str]:
    """Return warnings about fields, and form `files`, that are ignored."""
    warnings = unknown_fields(body, *files) + ignored_shape(body)
    if body.stream and body.response_format == "url":
        warnings.append("response_format is ignored in a stream: images are sent as b64_json.")
    if body.partial_images and not body.stream:
        warnings.append("partial_images is ignored without stream.")
    if isinstance(body, GenerationsBody) and body.stream_format is not None and not body.stream:
        warnings.append("stream_format is ignored without stream.")
    if isinstance(body, EditsBody) and body.input_fidelity is not None:
        warnings.append("input_fidelity is ignored; use strength instead.")
    return warnings
