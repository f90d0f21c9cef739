"""Loading models before requests name them, choosing the usual one, and freeing their memory."""

from typing import Literal

from flask import Blueprint, Response, jsonify
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from imageserver.api import errors
from imageserver.api.generation.model_lookup import ask_for, find_name, listing
from imageserver.api.inputs.json_body import read_json
from imageserver.api.inputs.validation import shown, validated
from imageserver.api.operations import documented
from imageserver.api.request_context import credential, request_id, services
from imageserver.api.schemas import ResponseSchema
from imageserver.api.services import Services
from imageserver.errors import BadRequest, ModelNotFound
from imageserver.protocol.messages import ModelRequest

# A model of 50 GB may have to be downloaded first; the job goes on without its client.
MAX_WAIT_SECONDS = 24 * 3600.0

blueprint = Blueprint("models", __name__, url_prefix="/v1/models")
errors.register(blueprint, errors.openai, errors.OpenAIError)


class ModelBody(BaseModel):
    """Which model is meant."""

    model_config = ConfigDict(strict=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    model: str = Field(
        min_length=1,
        max_length=200,
        validation_alias=AliasChoices("model", "model_id"),
        description="Name of the model, one of MODELS_FILE, or its source.",
    )


class LoadBody(ModelBody):
    """Which model is loaded, and what for."""

    default: bool = Field(True, description="Let it answer requests that name no model from then on.")
    wait: bool = Field(True, description="Answer when it is loaded; otherwise at once, with the number of the job.")


class ModelResponse(ResponseSchema):
    """A model, and whether it is in memory now."""

    id: str
    object: Literal["model"]
    loaded: bool
    default: bool = Field(description="Whether it answers requests that name no model.")
    family: str
    size_mb: float | None = Field(description="MiB of its weights; null before it was loaded for the first time.")
    load_time: float | None = Field(description="Seconds that loading it took the last time.")
    job: int | None = Field(description="Job of its load, for /v1/jobs/{id}; null where nothing was to be done.")


@blueprint.post("/load")
@documented(
    body=LoadBody,
    response=ModelResponse,
    also=(202,),
    errors=(400, 404, 413, 422, 500, 503, 504),
    example={"model": "demo"},
)
def load() -> Response:
    """Load a model, downloading it where it has to be; others stay in memory as long as they fit."""
    service = services()
    body = validated(LoadBody, _content())
    name = _find(service, body.model)
    number = request_id()
    ticket = ask_for(service, number, name, MAX_WAIT_SECONDS, default=body.default, fetch=True)
    if body.wait:
        ticket.model()
    response = jsonify(_shown(service, name, job=number).model_dump())
    if not body.wait:
        response.status_code = 202
        response.headers["Location"] = f"/v1/jobs/{number}"
    return response


@blueprint.post("/unload")
@documented(body=ModelBody, response=ModelResponse, errors=(400, 404, 409, 413, 422, 500, 503))
def unload() -> Response:
    """Free a model's memory; the next request for it loads it again."""
    service = services()
    name = _find(service, validated(ModelBody, _content()).model)
    service.client.unload_model(ModelRequest(job=request_id(), unload=name, credential=credential()))
    return jsonify(_shown(service, name, job=None).model_dump())


def _content() -> object:
    content = read_json()
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    return content


def _find(service: Services, asked: str) -> str:
    service.loaded_facts()
    name = find_name(service, asked)
    if name is None:
        named = ", ".join(listed.name for listed in listing(service))
        raise ModelNotFound(
            f"model {shown(asked)} has no name here; this server serves {named}, MODELS_FILE gives further ones names "
            "and MODEL_LOADING says which may be loaded.",
            param="model",
        )
    return name


def _shown(service: Services, name: str, *, job: int | None) -> ModelResponse:
    facts, usual, entry = service.info_of(name), service.facts, service.registry.get(name)
    return ModelResponse(
        id=name,
        object="model",
        loaded=service.snapshot is not None and name in service.snapshot.loaded,
        default=usual is not None and usual.name == name,
        family=facts.family if facts else (entry.family if entry else None) or "",
        size_mb=facts.size_mb if facts else None,
        load_time=facts.load_time if facts else None,
        job=job,
    )
