"""The LoRAs of the server: which there are, and loading them before they are asked for."""

import contextlib
from typing import Any, Literal

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from imageserver.api import errors
from imageserver.api.generation.model_lookup import ask_for, name_of
from imageserver.api.inputs.json_body import read_json
from imageserver.api.inputs.query import read_query
from imageserver.api.inputs.validation import validated
from imageserver.api.operations import documented
from imageserver.api.request_context import request_id, services
from imageserver.api.schemas import ResponseSchema
from imageserver.api.services import Services
from imageserver.errors import BadRequest, InvalidParameter, Loading, NotFound
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFile
from imageserver.protocol.messages import LoraRequest

blueprint = Blueprint("loras", __name__, url_prefix="/v1/loras")
errors.register(blueprint)


class LoraBody(BaseModel):
    """Which LoRA is meant."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str = Field(min_length=1, max_length=200, description="The LoRA's file name without its ending.")
    model: str | None = Field(
        None, min_length=1, max_length=200, description="Model of /v1/models that is meant; the usual one by default."
    )


class LorasQuery(BaseModel):
    """Which model's LoRAs are meant."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None, min_length=1, max_length=200, description="Model whose loaded LoRAs are told; the usual one by default."
    )


class LoraResponse(ResponseSchema):
    """A LoRA, and what its profile recommends; a request that names it gets that where it does not say."""

    id: str
    object: Literal["lora"]
    loaded: bool | None = Field(description="Whether the model holds it already; null while that cannot be known.")
    size: int = Field(description="Bytes of its file.")
    digest: str = Field(description="SHA-256 of its file and its profile.")
    description: str
    scale: float
    num_inference_steps: int | None
    true_cfg_scale: float | None
    scheduler: str | dict[str, Any] | None


class LoraListResponse(ResponseSchema):
    """All LoRAs by name, and what was wrong with files that are none."""

    object: Literal["list"]
    data: list[LoraResponse]
    warnings: list[str]


@blueprint.get("")
@documented(query=LorasQuery, response=LoraListResponse, errors=(404, 422, 500, 503))
def list_loras() -> Response:
    """List the LoRAs that requests may name."""
    return _listed()


@blueprint.get("/list")
@documented(query=LorasQuery, response=LoraListResponse, errors=(404, 422, 500, 503))
def list_loras_as_documented() -> Response:
    """List the LoRAs that requests may name; another address of /v1/loras."""
    return _listed()


@blueprint.post("/load")
@documented(body=LoraBody, response=LoraResponse, errors=(400, 404, 413, 422, 500, 503, 504))
def load() -> Response:
    """Load a LoRA now, so that the first request for it need not wait; requests load what they name by themselves."""
    service, body = services(), _body()
    file = _find(service, body.name)
    lora = Lora(name=file.name, digest=file.digest)
    model, snapshot = name_of(service, body.model), service.snapshot
    if snapshot is None or model not in snapshot.loaded:
        ask_for(service, service.request_ids.take(), model, service.settings.request_timeout).model()
    question = LoraRequest(job=request_id(), load=lora, model=model)
    return jsonify(_shown(file, service.client.loras(question)).model_dump())


@blueprint.post("/unload")
@documented(body=LoraBody, response=LoraResponse, errors=(400, 404, 409, 413, 422, 500, 503))
def unload() -> Response:
    """Take a LoRA off the model; without any, the model is the very one it was before."""
    service, body = services(), _body()
    file = _find(service, body.name)
    question = LoraRequest(job=request_id(), unload=file.name, model=name_of(service, body.model))
    return jsonify(_shown(file, service.client.loras(question)).model_dump())


def _body() -> LoraBody:
    content = read_json()
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    return validated(LoraBody, content)


def _find(service: Services, name: str) -> LoraFile:
    if name not in service.loras.names():
        known = ", ".join(service.loras.names()) or "none"
        raise NotFound(f"name: there is no LoRA {ascii(name)[:100]}; there are: {known}.", param="name")
    # It may have to be read to its end.
    return service.thread_pool.run(service.loras.find, name)


def _listed() -> Response:
    service, query = services(), read_query(LorasQuery)
    loaded: tuple[str, ...] | None = None
    files, warnings = [], []
    for name in service.loras.names():
        try:
            files.append(service.thread_pool.run(service.loras.find, name))
        except InvalidParameter as error:
            warnings.append(error.sentence)
    with contextlib.suppress(Loading):
        loaded = service.client.loras(LoraRequest(job=request_id(), model=name_of(service, query.model)))
    return jsonify(object="list", data=[_shown(file, loaded).model_dump() for file in files], warnings=warnings)


def _shown(file: LoraFile, loaded: tuple[str, ...] | None) -> LoraResponse:
    profile = file.profile
    return LoraResponse(
        id=file.name,
        object="lora",
        loaded=None if loaded is None else file.name in loaded,
        size=file.size,
        digest=file.digest,
        description=profile.description,
        scale=profile.scale,
        num_inference_steps=profile.num_inference_steps,
        true_cfg_scale=profile.true_cfg_scale,
        scheduler=profile.scheduler,
    )
