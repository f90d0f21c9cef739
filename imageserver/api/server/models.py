"""Load models before requests name them, choose the default model, and free the memory of models."""

from typing import Literal

from flask import Blueprint, Response, jsonify
from pydantic import AliasChoices, BaseModel, Field

from imageserver.api import errors
from imageserver.api.generation.model_lookup import ask_for, find_name, listing
from imageserver.api.inputs.json_body import read_model
from imageserver.api.inputs.validation import shown
from imageserver.api.operations import documented
from imageserver.api.request_context import credential, request_id, services
from imageserver.api.schemas import ResponseSchema
from imageserver.api.services import Services
from imageserver.errors import ModelNotFound
from imageserver.protocol.messages import ModelRequest

# The download of a 50 GB model takes hours; the job continues if its client disconnects.
MAX_WAIT_SECONDS = 24 * 3600.0

blueprint = Blueprint("models", __name__, url_prefix="/v1/models")
errors.register(blueprint, errors.openai, errors.OpenAIError)


class ModelBody(BaseModel, strict=True, extra="forbid", validate_by_name=True, validate_by_alias=True):
    """The body of `POST /v1/models/unload`."""

    model: str = Field(
        min_length=1,
        max_length=200,
        validation_alias=AliasChoices("model", "model_id"),
        description="Name of a model in MODELS_FILE, or its source.",
    )


class LoadBody(ModelBody):
    """The body of `POST /v1/models/load`."""

    default: bool = Field(True, description="Make it the default model.")
    wait: bool = Field(True, description="Respond once it is loaded; false responds at once with the job.")


class ModelStateResponse(ResponseSchema):
    """A model and its state."""

    id: str
    object: Literal["model"]
    loaded: bool
    default: bool = Field(description="Whether it is the default model.")
    family: str
    size_mb: float | None = Field(description="Size of its weights in MiB; null until it was loaded once.")
    load_time: float | None = Field(description="Seconds that its last load took.")
    job: int | None = Field(description="Job that loads it, see /v1/jobs/{id}; null after unloading.")


@blueprint.post("/load")
@documented(
    body=LoadBody,
    response=ModelStateResponse,
    also=(202,),
    errors=(400, 404, 413, 422, 500, 503, 504),
    example={"model": "demo"},
)
def load() -> Response:
    """Load a model, downloading it first if necessary; other models stay in memory while they fit."""
    service = services()
    body = read_model(LoadBody)
    name = _find(service, body.model)
    number = request_id()
    ticket = ask_for(service, number, name, MAX_WAIT_SECONDS, default=body.default, fetch=True)
    if body.wait and (info := ticket.model()) is not None:
        name = info.name
    response = jsonify(_response_of(service, name, job=number).model_dump())
    if not body.wait:
        response.status_code = 202
        response.headers["Location"] = f"/v1/jobs/{number}"
    return response


@blueprint.post("/unload")
@documented(body=ModelBody, response=ModelStateResponse, errors=(400, 404, 409, 413, 422, 500, 503))
def unload() -> Response:
    """Free the memory of a model; the next request that names it loads it again."""
    service = services()
    name = _find(service, read_model(ModelBody).model)
    service.client.unload_model(ModelRequest(job=request_id(), unload=name, credential=credential()))
    return jsonify(_response_of(service, name, job=None).model_dump())


def _find(service: Services, asked: str) -> str:
    service.loaded_info()
    name = find_name(service, asked)
    if name is None:
        named = ", ".join(listed.name for listed in listing(service))
        raise ModelNotFound(
            f"model {shown(asked)} is not available; this server serves {named}. MODELS_FILE adds models, and "
            "MODEL_LOADING says which ones may be loaded.",
            param="model",
        )
    return name


def _response_of(service: Services, name: str, *, job: int | None) -> ModelStateResponse:
    info, default, entry = service.info_of(name), service.default_info, service.registry.get(name)
    return ModelStateResponse(
        id=name,
        object="model",
        loaded=service.snapshot is not None and name in service.snapshot.loaded,
        default=default is not None and default.name == name,
        family=info.family if info else (entry.family if entry else None) or "",
        size_mb=info.size_mb if info else None,
        load_time=info.load_time if info else None,
        job=job,
    )
