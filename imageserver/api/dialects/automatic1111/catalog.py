"""What clients of AUTOMATIC1111 ask for before they generate: options, models, samplers, and what there is none of."""

from typing import Any

import psutil
from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict, Field

from imageserver.api.dialects.automatic1111.bodies import (
    SamplesFormat,
    ignored_options,
    quoted,
)
from imageserver.api.dialects.automatic1111.checkpoints import find_checkpoint, short_name
from imageserver.api.dialects.automatic1111.options import StoredOptions
from imageserver.api.dialects.automatic1111.samplers import DEFAULT_SCHEDULES, base_names
from imageserver.api.generation.model_lookup import ask_for, listing
from imageserver.api.inputs.json_body import read_json
from imageserver.api.inputs.validation import validated
from imageserver.api.operations import documented
from imageserver.api.request_context import credential, request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi.response_headers import add_warnings
from imageserver.errors import BadRequest
from imageserver.generation import ModelInfo
from imageserver.lora_folder import SUFFIX
from imageserver.schedulers import SCHEDULES, split_name

blueprint = Blueprint("catalog", __name__)

# What the options are that nobody can change.
FIXED: dict[str, Any] = {"CLIP_stop_at_last_layers": 1, "img2img_color_correction": False, "sd_vae": "Automatic"}
NONE_OF_THESE = (
    "extensions", "face-restorers", "hypernetworks", "latent-upscale-modes", "prompt-styles",
    "realesrgan-models", "script-info", "sd-vae",
)  # fmt: skip


class OptionsResponse(BaseModel):
    """The options that mean something here."""

    sd_model_checkpoint: str | None = Field(description="The loaded model; null while it is being loaded.")
    sd_checkpoint_hash: str | None
    samples_format: str = Field(description="File format of the images.")
    sd_vae: str
    CLIP_stop_at_last_layers: int
    img2img_color_correction: bool


class OptionsBody(BaseModel):
    """What `POST /sdapi/v1/options` takes; other options are ignored with a warning."""

    model_config = ConfigDict(strict=True, extra="allow")

    sd_model_checkpoint: str | None = Field(
        None, description="Title of a model of sd-models, which answers requests that name none from then on."
    )
    samples_format: SamplesFormat | None = Field(None, description="File format of the images from now on.")


class SDModelItem(BaseModel):
    """A model; `filename` is its name again, for nobody needs to know where it lies."""

    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None


class SamplerItem(BaseModel):
    """What generates."""

    name: str
    aliases: list[str]
    options: dict[str, Any]


class SchedulerItem(BaseModel):
    """How the noise goes down."""

    name: str
    label: str
    aliases: list[str] | None
    default_rho: float
    need_inner_model: bool


class UpscalerItem(BaseModel):
    """What enlarges."""

    name: str
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float


class NamedItem(BaseModel):
    """Something with a name."""

    name: str


class LoraItem(BaseModel):
    """A LoRA; `path` is its file's name alone, for nobody needs to know where it lies."""

    name: str
    alias: str
    path: str
    metadata: dict[str, Any]


class EmbeddingsResponse(BaseModel):
    """Textual inversions by name."""

    loaded: dict[str, Any]
    skipped: dict[str, Any]


class ScriptsResponse(BaseModel):
    """Titles of scripts."""

    txt2img: list[str]
    img2img: list[str]


class MemoryResponse(BaseModel):
    """Bytes of memory."""

    ram: dict[str, float]
    cuda: dict[str, str]


def stored_options(service: Services) -> StoredOptions:
    """Return the options that clients have chosen."""
    return StoredOptions(service.settings.resolve(service.settings.state_dir))


@blueprint.get("/sdapi/v1/options")
@documented(response=OptionsResponse)
def options() -> Response:
    """Answer the options."""
    service = services()
    facts = service.facts
    chosen = OptionsResponse(
        sd_model_checkpoint=facts.name if facts else None,
        sd_checkpoint_hash=_hash(facts) if facts else None,
        samples_format=stored_options(service).samples_format(credential()),
        **FIXED,
    )
    return jsonify(chosen.model_dump())


@blueprint.post("/sdapi/v1/options")
@documented(body=OptionsBody, errors=(400, 404, 413, 422, 500, 503, 504, 507), example={"samples_format": "png"})
def set_options() -> Response:
    """Change options: the images' file format, and the model, which is switched for everybody."""
    content = read_json()
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    body, service = validated(OptionsBody, content), services()
    if body.sd_model_checkpoint:
        _switch(service, body.sd_model_checkpoint)
    if body.samples_format:
        stored_options(service).set_samples_format(credential(), body.samples_format)
    ignored = ignored_options(body.model_extra or {})
    # Clients read the answer as JSON, and this is what they are used to.
    return add_warnings(jsonify(None), [f"options are ignored: {quoted(ignored)}."] if ignored else [])


@blueprint.get("/sdapi/v1/sd-models")
@documented(response=list[SDModelItem], errors=(503,))
def sd_models() -> Response:
    """List the models that can be chosen, the usual one first."""
    return _listed(
        *(
            SDModelItem(
                title=listed.name,
                model_name=short_name(listed.name),
                hash=_hash(listed.info) if listed.info else None,
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
    """List the samplers that fit the loaded model, its own first."""
    facts = services().loaded_facts()
    listed = []
    for name, schedules in base_names(facts).items():
        usual = DEFAULT_SCHEDULES.get(name, "")
        class_name = next(each for known, each in facts.schedulers.items() if split_name(known)[0] == name)
        options = {"scheduler": usual.lower()} if usual in schedules and usual else {}
        listed.append(SamplerItem(name=name, aliases=[class_name], options=options))
    return _listed(*listed)


@blueprint.get("/sdapi/v1/schedulers")
@documented(response=list[SchedulerItem], errors=(503,))
def schedulers() -> Response:
    """List the schedules that samplers of the loaded model know."""
    known = {
        schedule for schedules in base_names(services().loaded_facts()).values() for schedule in schedules if schedule
    }
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
    """List the LoRAs that a prompt may name."""
    names = services().loras.names()
    return _listed(*(LoraItem(name=name, alias=name, path=f"{name}{SUFFIX}", metadata={}) for name in names))


@blueprint.get("/sdapi/v1/upscalers")
@documented(response=list[UpscalerItem])
def upscalers() -> Response:
    """List None, for there are no upscalers."""
    return _listed(UpscalerItem(name="None", model_name=None, model_path=None, model_url=None, scale=4.0))


@documented(response=list[NamedItem])
def nothing() -> Response:
    """Answer an empty list: there is none of this here."""
    return _listed()


for _name in NONE_OF_THESE:
    blueprint.add_url_rule(f"/sdapi/v1/{_name}", _name, nothing)


@blueprint.get("/sdapi/v1/embeddings")
@documented(response=EmbeddingsResponse)
def embeddings() -> Response:
    """Answer that there are no textual inversions."""
    return jsonify(EmbeddingsResponse(loaded={}, skipped={}).model_dump())


@blueprint.get("/sdapi/v1/scripts")
@documented(response=ScriptsResponse)
def scripts() -> Response:
    """Answer that there are no scripts."""
    return jsonify(ScriptsResponse(txt2img=[], img2img=[]).model_dump())


@blueprint.get("/sdapi/v1/cmd-flags")
@documented(response=dict[str, Any])
def cmd_flags() -> Response:
    """Answer the flags of a command line that would start AUTOMATIC1111 as this server is."""
    settings = services().settings
    return jsonify(api=True, nowebui=True, listen=settings.host not in ("127.0.0.1", "localhost"), port=settings.port)


@blueprint.get("/sdapi/v1/memory")
@documented(response=MemoryResponse)
def memory() -> Response:
    """Answer the machine's memory; GET /info tells what the model takes of its device."""
    ram = psutil.virtual_memory()
    known = {"free": float(ram.available), "used": float(ram.total - ram.available), "total": float(ram.total)}
    return jsonify(
        MemoryResponse(ram=known, cuda={"error": "unavailable here; GET /info tells of the device"}).model_dump()
    )


def refresh() -> Response:
    """Answer that nothing has changed: there is nothing to look for."""
    return jsonify(None)


def keep_checkpoint() -> Response:
    """Leave the model loaded, because other clients use it."""
    return add_warnings(jsonify({}), ["The model stays loaded."])


for _name in ("refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings"):
    blueprint.add_url_rule(f"/sdapi/v1/{_name}", _name, refresh, methods=["POST"])
for _name in ("unload-checkpoint", "reload-checkpoint"):
    blueprint.add_url_rule(f"/sdapi/v1/{_name}", _name, keep_checkpoint, methods=["POST"])


@blueprint.get("/internal/ping")
def ping() -> Response:
    """Answer that the server is there."""
    return jsonify({})


@blueprint.get("/queue/status")
@documented(response=dict[str, Any])
def queue_status() -> Response:
    """Answer how long the queue is, as Gradio would: the Krita plug-in Cyanic asks before anything else."""
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
    """Let another model answer requests that name none, once it is loaded."""
    usual = service.loaded_facts()
    name = find_checkpoint(service, title)
    if name not in (None, usual.name):
        ask_for(service, request_id(), name, service.settings.request_timeout, default=True).model()


def _hash(facts: ModelInfo) -> str | None:
    return facts.revision[:10] or None
