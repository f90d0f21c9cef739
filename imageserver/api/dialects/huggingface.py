"""The Hugging Face dialect: `POST /models/{id}` and `POST /`, as the Hub's `InferenceClient` uses it with a URL.

Source: huggingface_hub 2.4, `inference/_providers/hf_inference.py` and `inference/_generated/types`. The client posts
to exactly the address that it is given, and treats the bytes of the response as the image.
"""

import re
import zlib
from dataclasses import dataclass, field
from typing import Any, Literal

from flask import Blueprint, Response, g, request
from pydantic import BaseModel, Field

from imageserver.api import errors
from imageserver.api.generation.build_request import parse_request, prepare
from imageserver.api.generation.run import GenerationResult
from imageserver.api.inputs import bounded_json
from imageserver.api.inputs.generate_request import NOT_BLANK, Fraction, Generating, Seed, Side, Whole
from imageserver.api.inputs.images.image_bytes import checked, fetch
from imageserver.api.inputs.images.init_image import InitImage
from imageserver.api.inputs.images.request_images import Images
from imageserver.api.inputs.json_body import as_object, read_body
from imageserver.api.inputs.validation import (
    BlanksLeftOut,
    blanks_left_out,
    is_blank,
    omittable,
    shown,
    validated,
    without_nulls,
)
from imageserver.api.operations import GENERATING_ERRORS, IMAGES, documented
from imageserver.api.outbound.safe_http import MAX_URL_CHARACTERS
from imageserver.api.request_context import assign_request_id, request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi.response_headers import add_warnings, header_text
from imageserver.errors import BadRequest, InvalidParameter, ServiceError
from imageserver.generation import NO_PROMPT

DIALECT = "huggingface"
# `inputs` is a prompt or an image: no prompt begins with that many characters without a space.
IMAGE_AS_TEXT = re.compile(r"data:image/|[A-Za-z0-9+/_-]{64}")
WEB_ADDRESS = re.compile(r"https?://\S+\s*\Z", re.IGNORECASE)
# Each is a header of its own, and clients accept about a hundred.
MAX_WARNINGS = 20
EXAMPLE = {"inputs": "a red circle on a blue background", "parameters": {"num_inference_steps": 4, "seed": 7}}
# The media types in `Accept`; image/jpg is wrong, but common.
FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp", "image/jpg": "jpeg"}


class TargetSize(BlanksLeftOut, strict=True, json_schema_extra=omittable):
    """The size of the image, or nothing."""

    width: Side | None = Field(None, description="Width in pixels, with `height`.")
    height: Side | None = Field(None, description="Height in pixels, with `width`.")


class HuggingFaceParameters(Generating, extra="allow", json_schema_extra=omittable):
    """The parameters of a generation; unknown keys are ignored with a warning."""

    prompt: str = Field("", description="Description of the edited image; with it, `inputs` is an image.")
    guidance_scale: Fraction | None = Field(
        None, ge=0, le=50, description="Classifier-free guidance scale; for Qwen-Image this is true_cfg_scale."
    )
    seed: Seed | None = Field(None, description="Random seed; random if omitted.")
    n: Whole = Field(1, ge=1, le=1, description="Always 1: the response is the image itself.")
    output_format: Literal["png", "jpeg", "webp"] = Field("png", description="Overrides the Accept header.")
    width: Side | None = Field(None, description="Width in pixels, with `height`.")
    height: Side | None = Field(None, description="Height in pixels, with `width`.")
    target_size: TargetSize | None = Field(None, description="Width and height together.")


class HuggingFaceBody(BlanksLeftOut, strict=True, extra="allow", json_schema_extra=blanks_left_out):
    """The JSON body of `POST /models/{id}`; an image without parameters may be the body itself."""

    inputs: str = Field(
        description="The prompt, or the image to start from as base64 or a data URL.",
        json_schema_extra={"pattern": NOT_BLANK},
    )
    parameters: HuggingFaceParameters | None = Field(None, description="Optional parameters.")


class HuggingFaceError(BaseModel):
    """An error in the format of `InferenceClient`."""

    error: str = Field(description="One sentence for people; the client's exception contains it.")
    code: str = Field(description="A stable name for programs.")
    param: str | None = Field(description="The field that caused the error.")
    warnings: list[str] | None = Field(None, description="Warnings about the request.")
    estimated_time: float | None = Field(None, description="With status 503: seconds until the model may be ready.")


@dataclass(frozen=True)
class ReadBody:
    """The fields of `POST /generate` for a request, its input image, and warnings."""

    fields: dict[str, Any]
    image: bytes | None = None
    warnings: list[str] = field(default_factory=list)


def envelope(error: ServiceError) -> dict[str, Any]:
    """Return `{"error", "code", "param"}`, with `warnings` and `estimated_time` if there are any."""
    content: dict[str, Any] = {"error": error.sentence, "code": error.code, "param": error.param}
    if g.get("huggingface_warnings"):
        content["warnings"] = g.huggingface_warnings
    if error.status == 503 and error.retry_after is not None:
        content["estimated_time"] = error.retry_after
    return content


blueprint = Blueprint("huggingface", __name__)
errors.register(blueprint, envelope, HuggingFaceError)
blueprint.before_request(assign_request_id)


@blueprint.post("/models/<path:name>")
@documented(body=HuggingFaceBody, binary=IMAGES, media=IMAGES, errors=GENERATING_ERRORS)
def generate_with(name: str) -> Response:
    """Generate an image for huggingface_hub's InferenceClient with the model in the path."""
    return _generate(name)


@blueprint.post("/")
@documented(body=HuggingFaceBody, binary=IMAGES, media=IMAGES, errors=GENERATING_ERRORS, example=EXAMPLE)
def generate() -> Response:
    """Generate an image for an InferenceClient that has only the server's address, with the default model."""
    return _generate(None)


def _generate(model: str | None) -> Response:
    service = services()
    data = read_body()
    is_json = request.is_json or data[:64].lstrip().startswith(b"{")
    body = _read_json(service, data) if is_json else _read_image(service, data)
    g.huggingface_warnings = body.warnings
    parsed = parse_request(
        service,
        body.fields if model is None else body.fields | {"model": model},
        request.headers,
        dialect=DIALECT,
        images=Images(InitImage(image=body.image, names=("inputs", "mask")) if body.image is not None else None),
        prompt_required=body.image is None,
    )
    pending = prepare(service, request_id(), parsed)
    g.huggingface_warnings = [*body.warnings, *pending.warnings]
    result = pending.result(request.environ)
    warnings = [*body.warnings, *result.warnings]
    if len(result.files) > 1:
        warnings.append(f"This API returns the first of {len(result.files)} images.")
    return _image(result, warnings)


def _read_json(service: Services, data: bytes) -> ReadBody:
    body = _checked(bounded_json.parse(data))
    parameters = body.parameters or HuggingFaceParameters()
    unknown = [*(body.model_extra or {}), *(parameters.model_extra or {})]
    warnings = [f"{shown(name)} is not a parameter and was ignored." for name in sorted(unknown)]
    fields = to_generate_fields(parameters)
    if not parameters.prompt.strip() and not _is_image(body.inputs, parameters):
        if not body.inputs.strip():
            raise BadRequest("inputs is empty: send a prompt.", param="inputs")
        return ReadBody(fields | {"prompt": body.inputs}, warnings=warnings)
    return _from_image(fetch(service, body.inputs, name="inputs"), parameters, fields, warnings)


def _is_image(inputs: str, parameters: HuggingFaceParameters) -> bool:
    """Return whether `inputs` is an image; an address is one where a prompt, even a blank one, is beside it."""
    # To match 32 MiB took 0.5 s.
    may_be_address = "prompt" in parameters.model_fields_set and len(inputs) <= MAX_URL_CHARACTERS
    if may_be_address and WEB_ADDRESS.match(inputs):
        return True
    return IMAGE_AS_TEXT.match(inputs) is not None


def _read_image(service: Services, data: bytes) -> ReadBody:
    """Return the meaning of a body that is only an image, which the client sends if it has no parameters."""
    if not data:
        raise BadRequest('The body is empty: send {"inputs": "a prompt"}, or an image.', param="inputs")
    parameters = HuggingFaceParameters()
    return _from_image(checked(data, service.settings, name="inputs"), parameters, to_generate_fields(parameters), [])


def _from_image(
    image: bytes, parameters: HuggingFaceParameters, fields: dict[str, Any], warnings: list[str]
) -> ReadBody:
    """Return the fields of an image-to-image request; without a prompt it is a variation."""
    if parameters.prompt.strip():
        return ReadBody(fields | {"prompt": parameters.prompt}, image, warnings)
    if not parameters.negative_prompt.strip():
        # Guidance between two blank prompts changes nothing and doubles the time.
        fields = {"true_cfg_scale": 1.0} | fields
    warnings = [*warnings, "Without a prompt, a variation of the image is generated."]
    return ReadBody(fields | {"prompt": NO_PROMPT}, image, warnings)


def _checked(content: Any) -> HuggingFaceBody:
    """Return the body; raises BadRequest, or InvalidParameter naming the field or the parameter."""
    given = without_nulls(as_object(content))
    parameters = given.get("parameters", {})
    if is_blank(parameters):
        parameters = {}
    if not isinstance(parameters, dict):
        raise InvalidParameter(f"parameters must be a JSON object (got {shown(parameters)}).", param="parameters")
    # Validated separately, so that an error names the parameter and not "parameters".
    return validated(
        HuggingFaceBody, given | {"parameters": validated(HuggingFaceParameters, without_nulls(parameters))}
    )


def to_generate_fields(parameters: HuggingFaceParameters) -> dict[str, Any]:
    """Return the fields of `POST /generate` except the prompt; raises InvalidParameter."""
    names = (set(Generating.model_fields) | {"width", "height"}) - {"prompt", "guidance_scale"}
    fields = parameters.model_dump(include=names, exclude_unset=True)
    # As this API everywhere: another image every time, the prompt unchanged, no overlay.
    fields |= {"seed": parameters.seed, "positive_magic": False, "add_overlay": False}
    fields.setdefault("output_format", _accepted_format())
    if parameters.guidance_scale is not None:
        fields.setdefault("true_cfg_scale", parameters.guidance_scale)
    if parameters.target_size is not None and (sides := _sides(parameters.target_size)):
        if not fields.keys().isdisjoint(("width", "height")):
            raise InvalidParameter("target_size and width/height exclude each other.", param="target_size")
        fields |= sides
    return fields


def _sides(size: TargetSize) -> dict[str, Any]:
    sides = size.model_dump(exclude_none=True)
    if len(sides) == 1:
        raise InvalidParameter("target_size needs width and height.", param="target_size")
    return sides


def _accepted_format() -> str:
    """Return the first supported format in the Accept header, otherwise PNG."""
    # The first of equal quality: the client appends its own image/png after what its user asks for.
    return next((FORMATS[kind] for kind, quality in request.accept_mimetypes if quality and kind in FORMATS), "png")


def _image(result: GenerationResult, warnings: list[str]) -> Response:
    outcome = result.outcome
    response = Response(result.files[0], mimetype=result.request.output_options.mimetype)
    response.headers["X-Seed"] = str(outcome.seeds[0])
    response.headers["X-Inference-Time"] = f"{outcome.inference_time:.2f}"
    response.headers["X-Cache"] = result.origin
    for sentence in map(header_text, warnings[:MAX_WARNINGS]):
        # The client logs one warning per topic.
        response.headers.add("X-HF-Warning", f"{zlib.crc32(sentence.encode()):08x}; {sentence}")
    return add_warnings(response, warnings)
