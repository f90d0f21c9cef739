"""The LoRAs of the server: list them, and load them before a request names them."""

import contextlib
from typing import Any, Literal

import msgspec
from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, Field

from imageserver.api import errors
from imageserver.api.generation.lora_fetch import fetch_missing
from imageserver.api.generation.model_lookup import ask_for, name_of
from imageserver.api.inputs.json_body import read_model
from imageserver.api.inputs.validation import read_query, shown
from imageserver.api.operations import documented
from imageserver.api.request_context import request_id, services
from imageserver.api.schemas import ResponseSchema
from imageserver.api.services import Services
from imageserver.errors import InvalidParameter, Loading, NotFound
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFile
from imageserver.protocol.messages import LoraRequest

blueprint = Blueprint("loras", __name__, url_prefix="/v1/loras")
errors.register(blueprint)


class LoraBody(BaseModel, strict=True, extra="forbid"):
    """The body of `POST /v1/loras/load` and `/v1/loras/unload`."""

    name: str = Field(min_length=1, max_length=200, description="One of /v1/loras.")
    model: str | None = Field(
        None, min_length=1, max_length=200, description="Name of a model from /v1/models; the default model if omitted."
    )


class LorasQuery(BaseModel, extra="forbid"):
    """The query of `GET /v1/loras`."""

    model: str | None = Field(
        None, min_length=1, max_length=200, description="Model that `loaded` refers to; the default model if omitted."
    )


class LoraResponse(ResponseSchema):
    """A LoRA with the recommendations of its profile, which are the defaults of a request that names it."""

    id: str
    object: Literal["lora"]
    loaded: bool | None = Field(description="Whether it is loaded into the model; null while that is unknown.")
    size: int = Field(description="Size of its file in bytes.")
    digest: str = Field(description="SHA-256 of its file and its profile.")
    trigger_words: list[str] = Field(description="Words that its file names: those of its author, or its main tags.")
    preview: str | None = Field(description="Image in its file as a `data:` address; null without one.")
    description: str
    scale: float
    num_inference_steps: int | None
    true_cfg_scale: float | None
    scheduler: str | dict[str, Any] | None


class LoraListResponse(ResponseSchema):
    """All LoRAs by name, and warnings about files that are not valid LoRAs."""

    object: Literal["list"]
    data: list[LoraResponse]
    warnings: list[str]


@blueprint.get("")
@documented(query=LorasQuery, response=LoraListResponse, errors=(404, 422, 500, 503))
def list_loras() -> Response:
    """List the LoRAs that requests can name."""
    service, query = services(), read_query(LorasQuery)
    loaded: tuple[str, ...] | None = None
    with contextlib.suppress(Loading):
        loaded = service.client.loras(LoraRequest(job=request_id(), model=name_of(service, query.model)))
    found, warnings = all_of(service, loaded)
    return jsonify(object="list", data=[lora.model_dump() for lora in found], warnings=warnings)


def all_of(service: Services, loaded: tuple[str, ...] | None = None) -> tuple[list[LoraResponse], list[str]]:
    """Return all LoRAs, given the names of the loaded ones, and warnings about files that are not valid."""
    found, warnings = [], []
    for name in service.loras.names():
        try:
            found.append(_response_of(service.thread_pool.run(service.loras.find, name), loaded))
        except InvalidParameter as error:
            warnings.append(error.sentence)
    return found, warnings


@blueprint.get("/list")
@documented(query=LorasQuery, response=LoraListResponse, errors=(404, 422, 500, 503))
def list_loras_as_documented() -> Response:
    """List the LoRAs that requests can name; the same as /v1/loras."""
    return list_loras()


@blueprint.post("/load")
@documented(body=LoraBody, response=LoraResponse, errors=(400, 404, 413, 422, 500, 503, 504))
def load() -> Response:
    """Load a LoRA in advance, so that the first request that names it does not wait; by its id on a hub, fetch it."""
    service, body = services(), read_model(LoraBody)
    fetch_missing(service, [body.name])
    file = _find(service, body.name)
    lora = Lora(name=file.name, digest=file.digest, hub_id=file.hub_id)
    model, snapshot = name_of(service, body.model), service.snapshot
    if snapshot is None or model not in snapshot.loaded:
        ask_for(service, service.request_ids.next_id(), model, service.settings.request_timeout).model()
    question = LoraRequest(job=request_id(), load=lora, model=model)
    return jsonify(_response_of(file, service.client.loras(question)).model_dump())


@blueprint.post("/unload")
@documented(body=LoraBody, response=LoraResponse, errors=(400, 404, 409, 413, 422, 500, 503))
def unload() -> Response:
    """Unload a LoRA; with no LoRAs left, the model's weights are as loaded."""
    service, body = services(), read_model(LoraBody)
    file = _find(service, body.name)
    question = LoraRequest(job=request_id(), unload=file.name, model=name_of(service, body.model))
    return jsonify(_response_of(file, service.client.loras(question)).model_dump())


def _find(service: Services, name: str) -> LoraFile:
    if service.loras.named(name) is None:
        known = ", ".join(service.loras.names()) or "none"
        raise NotFound(f"name: there is no LoRA {shown(name)}; choose from {known}.", param="name")
    # Hashing reads the whole file.
    return service.thread_pool.run(service.loras.find, name)


def _response_of(file: LoraFile, loaded: tuple[str, ...] | None) -> LoraResponse:
    return LoraResponse(
        id=file.name,
        object="lora",
        loaded=None if loaded is None else file.name in loaded,
        size=file.size,
        digest=file.digest,
        trigger_words=list(file.metadata.trigger_words),
        preview=file.metadata.preview,
        **msgspec.structs.asdict(file.profile),
    )
