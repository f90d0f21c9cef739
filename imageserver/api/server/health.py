"""The state of the server: for people, for monitoring and for orchestrators."""

import contextlib
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST

import aspect_ratios
from imageserver import __version__
from imageserver.api.captions.models import has_captions
from imageserver.api.inputs.images.init_image import MAX_IMAGE_SIDE, MAX_INPUT_RATIO
from imageserver.api.operations import documented
from imageserver.api.page import views as page
from imageserver.api.request_context import owner, services
from imageserver.api.schemas import (
    HealthResponse,
    IndexResponse,
    InfoResponse,
    ServerStatusResponse,
    StartupResponse,
    StatusResponse,
)
from imageserver.api.server import device_states
from imageserver.api.services import Services
from imageserver.errors import StorageFull
from imageserver.generation import ModelInfo
from imageserver.protocol.messages import Snapshot
from imageserver.settings import Settings
from imageserver.telemetry.instruments import KEY_DEVICE_SECONDS
from imageserver.telemetry.metrics import exposition

blueprint = Blueprint("health", __name__)

ARCHITECTURE = "gunicorn gevent workers, one dispatcher, one engine process per device"
# Features by the blueprint that provides them; /status lists those that are registered.
FEATURES = {
    "openai_images": "OpenAI-compatible images: generations, edits, variations and models",
    "cogview4_stream": "Server-sent events with intermediate images, large ones in chunks",
    "huggingface": "Hugging Face InferenceClient: text-to-image and image-to-image",
    "automatic1111": "AUTOMATIC1111 API under /sdapi/v1",
    "websocket": "WebSocket with progress, previews and cancel",
    "tasks": "Asynchronous tasks that outlive their client and a restart",
    "jobs": "Every request is a job that can be listed, followed and cancelled",
    "native": "Concurrent generations share the device step by step",
}


@blueprint.get("/health")
@documented(response=HealthResponse)
def health() -> Response:
    """Return the state of the server: model, device, queue and processes."""
    return jsonify(**state_of(services()))


def state_of(service: Services) -> dict[str, Any]:
    """Return what `GET /health` says."""
    snapshot = service.snapshot
    model = snapshot.info if snapshot else None
    return {
        "status": service.status,
        "reason": service.reason,
        "load_fraction": snapshot.load_fraction if snapshot else None,
        "model_loaded": snapshot is not None and snapshot.model_loaded,
        "device": model.device.kind if model else None,
        "gpu": model.device.gpu if model else None,
        "cuda_version": model.device.cuda_version if model else None,
        "worker_pool_initialized": model is not None,
        "active_workers": service.settings.workers,
        "concurrent_support": "enabled",
        "architecture": ARCHITECTURE,
        "pipeline_ready": model is not None,
        "queue_length": snapshot.queue_length if snapshot else 0,
        "active_tasks": snapshot.active if snapshot else 0,
        "total_tasks": snapshot.total if snapshot else 0,
        "engine_restarts": snapshot.engine_restarts if snapshot else 0,
        "engine_pid": snapshot.engine_pid if snapshot else None,
        "dispatcher_pid": snapshot.dispatcher_pid if snapshot else None,
        "queue_wait": snapshot.queue_wait if snapshot else None,
        "cards": _cards(snapshot),
        "generator_info": _generator_info(snapshot),
        "version": __version__,
        "devices": device_states.states(snapshot),
    }


@blueprint.get("/status")
@documented(response=ServerStatusResponse)
def server_status() -> Response:
    """Return the parts of the server, its features and its load."""
    service = services()
    snapshot = service.snapshot
    model = snapshot.info if snapshot else None
    return jsonify(
        server="qwen-image-server",
        version=__version__,
        status=service.status,
        worker_pool={
            "initialized": model is not None,
            "num_workers": service.settings.workers,
            "active_requests": snapshot.active if snapshot else 0,
            "architecture": ARCHITECTURE,
        },
        features=[feature for name, feature in FEATURES.items() if name in current_app.blueprints],
        model=model.name if model else None,
        device=model.device.kind if model else None,
        gpu=model.device.gpu if model else None,
        queue={
            "length": snapshot.queue_length if snapshot else 0,
            "limit": service.settings.max_queue,
            "wait": snapshot.queue_wait if snapshot else None,
        },
    )


@blueprint.get("/livez")
@documented(response=StatusResponse)
def livez() -> Response:
    """Return 200 while this worker's event loop runs."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
@documented(response=StatusResponse, also=(503,))
def readyz() -> Response:
    """Return 200 if a generation can start now, otherwise 503; `degraded` with 200 if only files cannot be stored."""
    service = services()
    response = jsonify(status=service.status)
    can_generate = not service.draining and service.snapshot is not None and service.snapshot.state == "healthy"
    response.status_code = 200 if can_generate else 503
    return response


@blueprint.get("/startupz")
@documented(response=StartupResponse, also=(503,))
def startupz() -> Response:
    """Return the progress of loading the model; the status is 200 once it is loaded."""
    snapshot = services().snapshot
    loaded = snapshot is not None and snapshot.info is not None
    response = jsonify(
        status=services().status,
        phase=snapshot.phase if snapshot else "starting",
        fraction=snapshot.load_fraction if snapshot else None,
        reason=services().reason,
    )
    response.status_code = 200 if loaded else 503
    return response


@blueprint.get("/metrics")
@documented(media=("text/plain",))
def metrics() -> Response:
    """Return the metrics in Prometheus text format; what each key used is for admins alone."""
    service, tasks = services(), dict[str, int]()
    with contextlib.suppress(StorageFull):
        tasks = service.tasks.count_by_state()
    series = service.measurement_link.totals() if service.snapshot else ()
    if owner().role != "admin":
        series = tuple(each for each in series if each.name != KEY_DEVICE_SECONDS.name)
    text = service.thread_pool.run(exposition, service.snapshot, series, tasks)
    return Response(text, content_type=CONTENT_TYPE_LATEST)


@blueprint.get("/info")
@documented(response=InfoResponse, errors=(503,))
def info() -> Response:
    """Return details of the model and the server."""
    return jsonify(**details_of(services()))


def details_of(service: Services) -> dict[str, Any]:
    """Return what `GET /info` says; raises Loading."""
    model, snapshot = service.loaded_info(), service.snapshot
    return {
        "model_name": model.name,
        "model_family": model.family,
        "model_reason": model.reason,
        "memory_plan": model.device.memory_plan,
        "memory_reason": model.device.memory_reason,
        "device": model.device.kind,
        "gpu": model.device.gpu,
        "cuda_version": model.device.cuda_version,
        "dtype": model.device.dtype,
        "scheduler": model.scheduler,
        "sampler": model.sampler,
        "schedulers": model.schedulers,
        "model_loaded": snapshot is not None and snapshot.model_loaded,
        "model_load_time": model.load_time,
        "total_parameters": model.parameters,
        "model_size_mb": model.size_mb,
        "gpu_memory_mb": model.device.memory_mb,
        "batch_caps": model.device.batch_caps,
        "max_in_flight": model.device.max_in_flight,
        "cards": model.device.cards,
        "cards_reason": model.device.cards_reason,
        "supported_aspect_ratios": list(aspect_ratios.ASPECT_RATIOS),
        "aspect_ratio_sizes": aspect_ratios.ASPECT_RATIOS,
        "draws_from": model.kinds,
        "layers": model.layers,
        "input_limits": _input_limits(service.settings, model),
        "gallery": service.gallery is not None,
        "enhance": model.enhances or service.prompt_endpoint is not None,
        "caption": has_captions(service),
        "total_requests_processed": snapshot.completed if snapshot else 0,
        "concurrent_support": "enabled",
        "version": __version__,
        "devices": device_states.details(snapshot),
    }


@blueprint.get("/")
@documented(response=IndexResponse, media=("text/html",))
def index() -> Response:
    """List the routes of the API, or return the web page to a browser."""
    response = page.page_response() if page.is_wanted(request.accept_mimetypes) else _list_of_routes()
    response.vary.add("Accept")
    return response


def _list_of_routes() -> Response:
    routes = [
        {
            "path": rule.rule,
            "methods": sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}),
            "summary": (current_app.view_functions[rule.endpoint].__doc__ or "").strip().splitlines()[0],
        }
        for rule in sorted(current_app.url_map.iter_rules(), key=lambda rule: rule.rule)
        if rule.endpoint != "static"
    ]
    return jsonify(name="qwen-image-server", version=__version__, status=services().status, endpoints=routes)


def _input_limits(settings: Settings, model: ModelInfo) -> dict[str, Any]:
    """Return what a client needs to know before it sends an image."""
    return {
        "images": model.max_images,
        "mib": settings.max_image_mb,
        "pixels": MAX_INPUT_RATIO * settings.max_pixels,
        "generated_pixels": settings.max_pixels,
        "side": MAX_IMAGE_SIDE,
    }


def _cards(snapshot: Snapshot | None) -> list[dict[str, Any]]:
    """Return how many cards of each group compute together now; empty where every card has an engine of its own."""
    groups = [(seat, seat.usage.group) for seat in snapshot.seats] if snapshot else []
    return [
        {"devices": seat.name.split("+"), "in_use": group.cards, "lost": group.lost, "reason": group.reason}
        for seat, group in groups
        if group is not None
    ]


def _generator_info(snapshot: Snapshot | None) -> dict[str, Any]:
    model = snapshot.info if snapshot else None
    default_size = model.default_size if model else None
    width, height = default_size or aspect_ratios.size_of(aspect_ratios.DEFAULT_ASPECT_RATIO)
    return {
        "model_id": model.name if model else None,
        "device": model.device.kind if model else None,
        "dtype": model.device.dtype if model else None,
        "scheduler": model.scheduler if model else None,
        "model_loaded": snapshot is not None and snapshot.model_loaded,
        "defaults": {
            "steps": model.default_steps if model else None,
            "guidance_scale": model.default_true_cfg_scale if model else None,
            "height": height,
            "width": width,
        },
    }
