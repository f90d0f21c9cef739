"""What the web page begins with, in one document: a form takes one round trip instead of six."""

import gzip
import hashlib
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, current_app
from pydantic import BaseModel, Field

from imageserver.api import errors
from imageserver.api.generation.model_lookup import downloadable, listing
from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.inputs.loras import LoraChoice
from imageserver.api.operations import documented
from imageserver.api.page.views import text_response
from imageserver.api.request_context import owner, services
from imageserver.api.schemas import HealthResponse, InfoResponse, OpenResponseSchema
from imageserver.api.server import health, loras
from imageserver.api.server.loras import LoraResponse
from imageserver.api.server.openapi import fields_of
from imageserver.api.services import Services
from imageserver.errors import Loading

blueprint = Blueprint("page_start", __name__)
errors.register(blueprint)

EXTENSION = "imageserver_page_fields"


class RecommendedResponse(OpenResponseSchema):
    """A model that the machine's memory holds."""

    name: str = Field(description="Its name.")
    settings: str = Field(description="The settings that start it, as a shell reads them.")
    download_gb: float = Field(description="What is downloaded for it; 0 where its files are on the disk.")
    licence: str = Field(description="Licence of its weights.")
    alternatives: list[str] = Field(description="Names of others that the memory holds, the best first.")


class PageStartResponse(OpenResponseSchema):
    """The state of the server, and what the form of the web page depends on."""

    health: HealthResponse
    info: InfoResponse | None = Field(description="As `GET /info`; null while the first model loads.")
    models: list[dict[str, Any]] = Field(description="The models that need no download, the default one first.")
    loras: list[dict[str, Any]] = Field(
        description="As `GET /v1/loras`, without `loaded`; `has_preview` stands for `preview`."
    )
    styles: list[dict[str, Any]] = Field(
        description="Words that the page adds to a prompt: `id`, and by language `name` and `words` (STYLES_FILE)."
    )
    fields: dict[str, Any] = Field(description="JSON schemas of the fields of `POST /generate`.")
    lora_fields: dict[str, Any] = Field(description="JSON schemas of the fields of a LoRA in it.")
    downloads: list[dict[str, Any]] = Field(
        description="For admins, the models that a download would bring, with `gb`, its size, and `licence`."
    )
    recommended: RecommendedResponse | None = Field(
        description="What would generate real images on this machine in the place of the demo model."
    )
    is_admin: bool = Field(description="Whether this client may choose the default model.")


@blueprint.get("/page/start.json")
@documented(response=PageStartResponse, errors=(500,))
def start() -> Response:
    """Return what the web page begins with."""
    service = services()
    content = current_app.json.dumps(_values(service)).encode()
    compressed = service.thread_pool.run(gzip.compress, content, compresslevel=6)
    response = text_response(content, compressed, "application/json", hashlib.sha256(content).hexdigest()[:32])
    response.cache_control.no_cache = True
    return response


def _values(service: Services) -> dict[str, Any]:
    try:
        info, models, better = health.details_of(service), listing(service), service.loaded_info().recommended
    except Loading:
        info, models, better = None, [], None
    is_admin = owner().role == "admin"
    return {
        "health": health.state_of(service),
        "info": info,
        "models": [{"id": model.name, "loaded": model.loaded} for model in models],
        "loras": [_lora(lora) for lora in loras.all_of(service)[0]],
        "styles": [{"id": name, **style.model_dump()} for name, style in service.styles.items()],
        "fields": _fields("fields", GenerateBody),
        "lora_fields": _fields("lora_fields", LoraChoice),
        "downloads": _downloads(service) if is_admin else [],
        "recommended": better and asdict(better),
        "is_admin": is_admin,
    }


def _downloads(service: Services) -> list[dict[str, Any]]:
    return [{"id": name, "gb": entry.download_gb, "licence": entry.licence} for name, entry in downloadable(service)]


def _lora(lora: LoraResponse) -> dict[str, Any]:
    """Return what a form shows of a LoRA; a preview has up to 150 KB, which a slow line would wait for."""
    return lora.model_dump(exclude={"loaded", "preview"}) | {"has_preview": lora.preview is not None}


def _fields(name: str, body: type[BaseModel]) -> dict[str, Any]:
    """Return the schemas of a body's fields, which never change and take milliseconds to build."""
    extensions, service = current_app.extensions, services()
    known = extensions.setdefault(EXTENSION, {})
    if name not in known:
        known[name] = service.thread_pool.run(fields_of, body, service.settings)
    fields: dict[str, Any] = known[name]
    return fields
