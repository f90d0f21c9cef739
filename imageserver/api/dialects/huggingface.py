"""The Hugging Face dialect: `POST /models/{id}` and `POST /`, as the Hub's `InferenceClient` speaks it to a URL.

Source: huggingface_hub 2.4, `inference/_providers/hf_inference.py` and `inference/_generated/types`. The client posts
to exactly the address that it was given, and takes the answer's bytes as the image.
"""

import re
import zlib
from dataclasses import dataclass, field
from typing import Any, Literal

from flask import Blueprint, Response, g, request
from pydantic import BaseModel, ConfigDict, Field

from imageserver.api import errors
from imageserver.api.generation.build_request import parse_request, prepare
from imageserver.api.generation.run import GenerationResult
from imageserver.api.inputs.generate_request import NOT_BLANK, Fraction, Generating, Seed, Side, Whole
from imageserver.api.inputs.image_bytes import checked, fetch
from imageserver.api.inputs.init_image import InitImage
from imageserver.api.inputs.json_body import parsed, read_body
from imageserver.api.inputs.request_images import Images
from imageserver.api.inputs.validation import nullable, shown, validated, without_nulls
from imageserver.api.operations import GENERATING_ERRORS, IMAGES, documented
from imageserver.api.request_context import request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi.response_headers import add_warnings, header_text
from imageserver.errors import BadRequest, InvalidParameter, ServiceError

DIALECT = "huggingface"
# Both kinds of request have text in `inputs`: nobody's prompt begins with so much of it without a space.
IMAGE_AS_TEXT = re.compile(r"data:image/|[A-Za-z0-9+/_-]{64}")
# Qwen's own way of saying nothing.
NO_PROMPT = " "
# Each is a header of its own, of which clients take a hundred.
MAX_WARNINGS = 20
EXAMPLE = {"inputs": "a red circle on a blue background", "parameters": {"num_inference_steps": 4, "seed": 7}}
# What `Accept` may ask for; image/jpg is wrong and common.
FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp", "image/jpg": "jpeg"}


class TargetSize(BaseModel):
    """The size of the answer."""

    model_config = ConfigDict(strict=True)

    width: Side = Field(description="Width in pixels.")
    height: Side = Field(description="Height in pixels.")


class HuggingFaceParameters(Generating):
    """How the image is generated; unknown keys are ignored with a warning."""

    model_config = ConfigDict(strict=True, extra="allow", json_schema_extra=nullable)

    prompt: str = Field("", description="What the image in `inputs` should become; makes `inputs` an image.")
    guidance_scale: Fraction | None = Field(
        None, ge=0, le=50, description="Classifier-free guidance scale; for Qwen-Image this is true_cfg_scale."
    )
    seed: Seed | None = Field(None, description="Random seed; generated if left out.")
    n: Whole = Field(1, ge=1, le=1, description="One: the answer is the image itself.")
    output_format: Literal["png", "jpeg", "webp"] = Field("png", description="Goes before the Accept header.")
    width: Side | None = Field(None, description="Width in pixels, with `height`.")
    height: Side | None = Field(None, description="Height in pixels, with `width`.")
    target_size: TargetSize | None = Field(None, description="Both in one.")


class HuggingFaceBody(BaseModel):
    """What `POST /models/{id}` takes as JSON; an image without parameters may also be the body itself."""

    model_config = ConfigDict(strict=True, extra="allow")

    inputs: str = Field(
        description="What to generate, or the image to start from: base64 or a data URL.",
        json_schema_extra={"pattern": NOT_BLANK},
    )
    parameters: HuggingFaceParameters | None = Field(None, description="All may be left out.")


class HuggingFaceError(BaseModel):
    """An error as `InferenceClient` reads it."""

    error: str = Field(description="One sentence for people; the client puts it into its exception.")
    code: str = Field(description="A stable name for programs.")
    param: str | None = Field(description="The field that is wrong.")
    warnings: list[str] | None = Field(None, description="What else should be known of the request.")
    estimated_time: float | None = Field(None, description="Seconds until the model may be there, with status 503.")


@dataclass(frozen=True)
class ReadBody:
    """What a request means in native terms, the image file that it starts from, and warnings about it."""

    content: dict[str, Any]
    image: bytes | None = None
    warnings: list[str] = field(default_factory=list)


def envelope(error: ServiceError) -> dict[str, Any]:
    """Return `{"error", "code", "param"}`, and where it applies `warnings` and `estimated_time`."""
    said: dict[str, Any] = {"error": error.sentence, "code": error.code, "param": error.param}
    if g.get("huggingface_warnings"):
        said["warnings"] = g.huggingface_warnings
    if error.status == 503 and error.retry_after is not None:
        said["estimated_time"] = error.retry_after
    return said


blueprint = Blueprint("huggingface", __name__)
errors.register(blueprint, envelope, HuggingFaceError)


@blueprint.before_request
def take_request_id() -> None:
    """Give every answer its `x-request-id`, which the client's exceptions show."""
    request_id()


@blueprint.post("/models/<path:name>")
@documented(body=HuggingFaceBody, binary=IMAGES, media=IMAGES, errors=GENERATING_ERRORS)
def generate_with(name: str) -> Response:
    """Generate an image for huggingface_hub's InferenceClient, with the model that the address names."""
    return _generate(name)


@blueprint.post("/")
@documented(body=HuggingFaceBody, binary=IMAGES, media=IMAGES, errors=GENERATING_ERRORS, example=EXAMPLE)
def generate() -> Response:
    """Generate an image for huggingface_hub's InferenceClient that knows the server's address alone."""
    return _generate(None)


def _generate(model: str | None) -> Response:
    service = services()
    data = read_body()
    is_json = request.is_json or data[:64].lstrip().startswith(b"{")
    asked = _json(service, data) if is_json else _image_alone(service, data)
    g.huggingface_warnings = asked.warnings
    parsed = parse_request(
        service,
        asked.content if model is None else asked.content | {"model": model},
        request.headers,
        dialect=DIALECT,
        images=Images(InitImage(image=asked.image, names=("inputs", "mask")) if asked.image is not None else None),
        prompt_required=asked.image is None,
    )
    pending = prepare(service, request_id(), parsed)
    g.huggingface_warnings = [*asked.warnings, *pending.warnings]
    result = pending.result(request.environ)
    warnings = [*asked.warnings, *result.warnings]
    if len(result.files) > 1:
        warnings.append(f"This API returns the first of {len(result.files)} images.")
    return _image(result, warnings)


def _json(service: Services, data: bytes) -> ReadBody:
    body = _checked(parsed(data))
    parameters = body.parameters or HuggingFaceParameters()
    unknown = [*(body.model_extra or {}), *(parameters.model_extra or {})]
    warnings = [f"{shown(name)} is not a parameter and was ignored." for name in sorted(unknown)]
    fields = to_generate_fields(parameters)
    if "prompt" not in parameters.model_fields_set and not IMAGE_AS_TEXT.match(body.inputs):
        if not body.inputs.strip():
            raise BadRequest("inputs is empty: say what to generate.", param="inputs")
        return ReadBody(fields | {"prompt": body.inputs}, warnings=warnings)
    return _after(fetch(service, body.inputs, name="inputs"), parameters, fields, warnings)


def _image_alone(service: Services, data: bytes) -> ReadBody:
    """Return what a body means that is nothing but an image, which the client sends where it has no parameters."""
    if not data:
        raise BadRequest('The body is empty: send {"inputs": "what to generate"}, or an image.', param="inputs")
    parameters = HuggingFaceParameters()
    return _after(checked(data, service.settings, name="inputs"), parameters, to_generate_fields(parameters), [])


def _after(image: bytes, parameters: HuggingFaceParameters, fields: dict[str, Any], warnings: list[str]) -> ReadBody:
    """Return the fields of an image-to-image request; without a prompt it is a variation."""
    if parameters.prompt.strip():
        return ReadBody(fields | {"prompt": parameters.prompt}, image, warnings)
    if not parameters.negative_prompt.strip():
        # Guidance between two blanks changes nothing and takes as long as the image.
        fields = {"true_cfg_scale": 1.0} | fields
    warnings = [*warnings, "Without a prompt, a variation of the image is generated."]
    return ReadBody(fields | {"prompt": NO_PROMPT}, image, warnings)


def _checked(content: Any) -> HuggingFaceBody:
    """Return the body; raises BadRequest, or InvalidParameter naming the field, also one of the parameters."""
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    given = without_nulls(content)
    parameters = given.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidParameter(f"parameters must be a JSON object (got {shown(parameters)}).", param="parameters")
    # On its own, so that an error names the parameter and not "parameters".
    return validated(
        HuggingFaceBody, given | {"parameters": validated(HuggingFaceParameters, without_nulls(parameters))}
    )


def to_generate_fields(parameters: HuggingFaceParameters) -> dict[str, Any]:
    """Return the native body that means the same, but for the prompt; raises InvalidParameter."""
    taken = (set(Generating.model_fields) | {"width", "height"}) - {"prompt", "guidance_scale"}
    fields = parameters.model_dump(include=taken, exclude_unset=True)
    # What the client's users are used to: another image every time, the prompt as it is, no panel.
    fields |= {"seed": parameters.seed, "positive_magic": False, "add_overlay": False}
    fields.setdefault("output_format", _accepted_format())
    if parameters.guidance_scale is not None:
        fields.setdefault("true_cfg_scale", parameters.guidance_scale)
    if parameters.target_size is not None:
        if not fields.keys().isdisjoint(("width", "height")):
            raise InvalidParameter("target_size and width/height exclude each other.", param="target_size")
        fields |= parameters.target_size.model_dump()
    return fields


def _accepted_format() -> str:
    """Return the format that the client accepts, PNG where it accepts none that is known."""
    # Of equals the first: what the client's user asks for comes before the image/png that the client adds to it.
    return next((FORMATS[kind] for kind, quality in request.accept_mimetypes if quality and kind in FORMATS), "png")


def _image(result: GenerationResult, warnings: list[str]) -> Response:
    outcome = result.outcome
    response = Response(result.files[0], mimetype=result.request.output_options.mimetype)
    response.headers["X-Seed"] = str(outcome.seeds[0])
    response.headers["X-Inference-Time"] = f"{outcome.inference_time:.2f}"
    response.headers["X-Cache"] = result.origin
    for sentence in map(header_text, warnings[:MAX_WARNINGS]):
        # The client logs one of these for each topic.
        response.headers.add("X-HF-Warning", f"{zlib.crc32(sentence.encode()):08x}; {sentence}")
    return add_warnings(response, warnings)
