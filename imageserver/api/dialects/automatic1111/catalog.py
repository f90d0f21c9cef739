"""The lists that AUTOMATIC1111's clients read before they generate: options, models, samplers, and empty ones."""

from typing import Any

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, Field

from imageserver import ram
from imageserver.api.dialects.automatic1111.bodies import SamplesFormat, ignored_options, quoted
from imageserver.api.dialects.automatic1111.checkpoints import find_checkpoint, short_name
from imageserver.api.dialects.automatic1111.extras.bodies import UPSCALERS
from imageserver.api.dialects.automatic1111.options import StoredOptions
from imageserver.api.dialects.automatic1111.samplers import DEFAULT_SCHEDULES, base_names
from imageserver.api.generation.model_lookup import ask_for, listing
from imageserver.api.inputs.json_body import read_model
from imageserver.api.inputs.validation import BlanksLeftOut, blanks_left_out
from imageserver.api.operations import documented
from imageserver.api.request_context import credential, request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi.response_headers import add_warnings
from imageserver.lora_folder import SUFFIX
from imageserver.schedulers import SCHEDULES, split_name

blueprint = Blueprint("catalog", __name__)

EMPTY_LISTS = (
    "extensions", "face-restorers", "hypernetworks", "latent-upscale-modes", "prompt-styles",
    "realesrgan-models", "script-info", "sd-modules", "sd-vae",
)  # fmt: skip


class OptionsResponse(BaseModel):
    """The supported options."""

    sd_model_checkpoint: str | None = Field(description="The default model; null while it loads for the first time.")
    sd_checkpoint_hash: str | None
    samples_format: str = Field(description="File format of the images.")
    sd_vae: str
    CLIP_stop_at_last_layers: int
    img2img_color_correction: bool


class OptionsBody(BlanksLeftOut, strict=True, extra="allow", json_schema_extra=blanks_left_out):
    """The body of `POST /sdapi/v1/options`; other options are ignored with a warning."""

    sd_model_checkpoint: str | None = Field(
        None, description="Title of a model in sd-models; it becomes the default model."
    )
    samples_format: SamplesFormat | None = Field(None, description="File format of the images.")


class SDModelItem(BaseModel):
    """A model; `filename` is its name, to keep paths private."""

    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None


class SamplerItem(BaseModel):
    """A sampler."""

    name: str
    aliases: list[str]
    options: dict[str, Any]


class SchedulerItem(BaseModel):
    """A noise schedule."""

    name: str
    label: str
    aliases: list[str] | None
    default_rho: float
    need_inner_model: bool


class UpscalerItem(BaseModel):
    """An upscaler."""

    name: str
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float


class NamedItem(BaseModel):
    """An item with a name."""

    name: str


class LoraItem(BaseModel):
    """A LoRA; `path` is only its file name, to keep paths private."""

    name: str
    alias: str
    path: str
    metadata: dict[str, Any]


class EmbeddingsResponse(BaseModel):
    """Textual inversions by name."""

    loaded: dict[str, Any]
    skipped: dict[str, Any]


class ScriptsResponse(BaseModel):
    """Scripts by tab."""

    txt2img: list[str]
    img2img: list[str]


class MemoryResponse(BaseModel):
    """Memory in bytes."""

    ram: dict[str, float]
    cuda: dict[str, str]


def stored_options(service: Services) -> StoredOptions:
    return StoredOptions(service.settings.resolve(service.settings.state_dir))


@blueprint.get("/sdapi/v1/options")
@documented(response=OptionsResponse)
def options() -> Response:
    """Return the options."""
    service = services()
    info = service.default_info
    chosen = OptionsResponse(
        sd_model_checkpoint=info.name if info else None,
        sd_checkpoint_hash=info.weights_hash if info else None,
        samples_format=stored_options(service).samples_format(credential()),
        # These cannot be changed.
        sd_vae="Automatic",
        CLIP_stop_at_last_layers=1,
        img2img_color_correction=False,
    )
    return jsonify(chosen.model_dump())


@blueprint.post("/sdapi/v1/options")
@documented(body=OptionsBody, errors=(400, 404, 413, 422, 500, 503, 504, 507), example={"samples_format": "png"})
def set_options() -> Response:
    """Change options: the file format of images for this client, and the default model for all clients."""
    body, service = read_model(OptionsBody), services()
    if body.sd_model_checkpoint:
        _switch(service, body.sd_model_checkpoint)
    if body.samples_format:
        stored_options(service).set_samples_format(credential(), body.samples_format)
    ignored = ignored_options(body.model_extra or {})
    # Clients parse the response as JSON; AUTOMATIC1111 returns null too.
    return add_warnings(jsonify(None), [f"options are ignored: {quoted(ignored)}."] if ignored else [])


@blueprint.get("/sdapi/v1/sd-models")
@documented(response=list[SDModelItem], errors=(503,))
def sd_models() -> Response:
    """List the models that can be chosen, the default model first."""
    return _listed(
        *(
            SDModelItem(
                title=listed.name,
                model_name=short_name(listed.name),
                hash=listed.info.weights_hash if listed.info else None,
                sha256=None,
                filename=short_name(listed.name),
                config=None,
            )
            for listed in listing(services())
        )
    )


@blueprint.get("/sdapi/v1/samplers")
@documented(response=list[SamplerItem], errors=(503,))
def samplers() -> Response:
    """List the samplers that fit the default model, its own first."""
    info = services().loaded_info()
    listed = []
    for name, schedules in base_names(info).items():
        schedule = DEFAULT_SCHEDULES.get(name, "")
        class_name = next(each for known, each in info.schedulers.items() if split_name(known)[0] == name)
        options = {"scheduler": schedule.lower()} if schedule in schedules and schedule else {}
        listed.append(SamplerItem(name=name, aliases=[class_name], options=options))
    return _listed(*listed)


@blueprint.get("/sdapi/v1/schedulers")
@documented(response=list[SchedulerItem], errors=(503,))
def schedulers() -> Response:
    """List the schedules that the samplers of the default model support."""
    known = set[str]().union(*base_names(services().loaded_info()).values()) - {""}
    labels = ["Automatic", *(["Uniform", *(each for each in SCHEDULES if each in known)] if known else [])]
    return _listed(
        *(
            SchedulerItem(name=label.lower(), label=label, aliases=None, default_rho=-1.0, need_inner_model=False)
            for label in labels
        )
    )


@blueprint.get("/sdapi/v1/loras")
@documented(response=list[LoraItem])
def loras() -> Response:
    """List the LoRAs that a prompt can name."""
    names = services().loras.names()
    return _listed(*(LoraItem(name=name, alias=name, path=f"{name}{SUFFIX}", metadata={}) for name in names))


@blueprint.get("/sdapi/v1/upscalers")
@documented(response=list[UpscalerItem])
def upscalers() -> Response:
    """List the upscalers: None and Lanczos."""
    return _listed(
        *(UpscalerItem(name=name, model_name=None, model_path=None, model_url=None, scale=4.0) for name in UPSCALERS)
    )


@documented(response=list[NamedItem])
def nothing() -> Response:
    """Return an empty list: this server has none of these."""
    return _listed()


for _name in EMPTY_LISTS:
    blueprint.add_url_rule(f"/sdapi/v1/{_name}", _name, nothing)


@blueprint.get("/sdapi/v1/embeddings")
@documented(response=EmbeddingsResponse)
def embeddings() -> Response:
    """Return empty lists: this server has no textual inversions."""
    return jsonify(EmbeddingsResponse(loaded={}, skipped={}).model_dump())


@blueprint.get("/sdapi/v1/scripts")
@documented(response=ScriptsResponse)
def scripts() -> Response:
    """Return empty lists: this server has no scripts."""
    return jsonify(ScriptsResponse(txt2img=[], img2img=[]).model_dump())


@blueprint.get("/sdapi/v1/cmd-flags")
@documented(response=dict[str, Any])
def cmd_flags() -> Response:
    """Return the command-line flags with which AUTOMATIC1111 would match this server."""
    settings = services().settings
    return jsonify(api=True, nowebui=True, listen=settings.host not in ("127.0.0.1", "localhost"), port=settings.port)


@blueprint.get("/sdapi/v1/memory")
@documented(response=MemoryResponse)
def memory() -> Response:
    """Return the RAM that the server may use; GET /info returns that of the device."""
    found = ram.measure()
    known = {"free": float(found.available), "used": float(found.total - found.available), "total": float(found.total)}
    return jsonify(MemoryResponse(ram=known, cuda={"error": "not available here; see GET /info"}).model_dump())


def refresh() -> Response:
    """Return null: there is nothing to refresh."""
    return jsonify(None)


def keep_checkpoint() -> Response:
    """Keep the model loaded, because other clients use it."""
    return add_warnings(jsonify({}), ["The model stays loaded."])


for _name in ("refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings"):
    blueprint.add_url_rule(f"/sdapi/v1/{_name}", _name, refresh, methods=["POST"])
for _name in ("unload-checkpoint", "reload-checkpoint"):
    blueprint.add_url_rule(f"/sdapi/v1/{_name}", _name, keep_checkpoint, methods=["POST"])


@blueprint.get("/internal/ping")
def ping() -> Response:
    """Return an empty object while the server runs."""
    return jsonify({})


@blueprint.get("/queue/status")
@documented(response=dict[str, Any])
def queue_status() -> Response:
    """Return the length of the queue in Gradio's format, which the Krita plug-in Cyanic reads first."""
    snapshot = services().snapshot
    return jsonify(
        msg="estimation",
        rank=None,
        queue_size=snapshot.queue_length if snapshot else 0,
        rank_eta=None,
        queue_eta=snapshot.queue_wait if snapshot else 0.0,
    )


def _listed(*items: BaseModel) -> Response:
    return jsonify([item.model_dump() for item in items])


def _switch(service: Services, title: str) -> None:
    """Make another model the default model and wait until it is loaded; raises ModelNotFound."""
    default = service.loaded_info()
    name = find_checkpoint(service, title)
    if name not in (None, default.name):
        ask_for(service, request_id(), name, service.settings.request_timeout, default=True).model()
