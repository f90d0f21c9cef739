"""Which models requests may name, and what is known of each; one that is not loaded yet is loaded when it is named."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flask import request

from imageserver.api.inputs.validation import shown
from imageserver.api.request_context import client_address, credential
from imageserver.api.services import Services
from imageserver.api.wsgi.disconnect import while_client_stays
from imageserver.dispatch.client.ticket import Ticket
from imageserver.errors import ModelNotFound
from imageserver.generation import ModelInfo
from imageserver.protocol.messages import ModelRequest
from imageserver.registry import ModelEntry

DEMO = "demo"
# What stands for the default model.
UNNAMED = (None, "", "auto")
# What requests leave open is decided the same way by these, before one is loaded: it is Qwen-Image's.
FORESEEN = ("auto", DEMO, "Qwen/Qwen-Image")


@dataclass(frozen=True)
class Listed:
    """A model that requests may name: `info` once it has been loaded, `loaded` while it is in memory.

    The `family` of one that was never loaded is what the registry says, empty where it says nothing.
    """

    name: str
    source: str
    family: str
    info: ModelInfo | None
    loaded: bool


def listing(service: Services) -> list[Listed]:
    """Return the models that need no download, the default model first.

    Raises Loading while there is none.
    """
    default, snapshot = service.loaded_info(), service.snapshot
    known, loaded = (snapshot.models, snapshot.loaded) if snapshot else ((), ())
    listed = {
        info.name: Listed(info.name, info.source, info.family, info, info.name in loaded) for info in (default, *known)
    }
    if service.settings.model_loading != "off":
        for name, entry in _named_models(service):
            if _is_on_disk(service, entry):
                listed.setdefault(name, Listed(name, entry.source, entry.family or "", None, loaded=False))
    return list(listed.values())


def find_name(service: Services, asked: str) -> str | None:
    """Return the name of the model that is meant, by its name or its source; None where no request may name it."""
    for info in service.snapshot.models if service.snapshot else ():
        if asked in (info.name, info.source):
            return info.name
    if service.settings.model_loading == "off":
        return None
    for name, entry in _named_models(service):
        if asked in (name, entry.source):
            return name
    return asked if service.settings.model_loading == "any" and "/" in asked else None


def name_of(service: Services, asked: str | None, *, param: str = "model") -> str:
    """Return the name of the model that is meant; raises ModelNotFound, or Loading before the first one is there."""
    default = service.info_of("") or service.loaded_info()
    if asked in UNNAMED:
        return default.name
    name = find_name(service, asked)
    if name is None:
        served = ", ".join(listed.name for listed in listing(service))
        raise ModelNotFound(f"model {shown(asked)} is not available; this server serves {served}.", param=param)
    return name


@dataclass(frozen=True)
class WaitingRequest:
    """A request that may have to wait for its model, for up to `timeout` seconds."""

    number: int
    dialect: str
    prompt: str
    timeout: float


@dataclass(frozen=True)
class Unloaded:
    """A model that is not loaded, and known by name only; an empty name means the one that the server starts with."""

    name: str


def look_up(service: Services, asked: str | None, *, param: str = "model") -> ModelInfo | Unloaded | None:
    """Return what is known of the model that a request names, without waiting for it.

    None is the one that the server begins with, before it is loaded, where its defaults are known without that. Raises
    ModelNotFound, Loading.
    """
    default = service.info_of("")
    if default is None and asked in (*UNNAMED, *_names_of_first(service)):
        return None if _is_foreseen(service) else Unloaded("")
    if asked in UNNAMED:
        return default
    name = name_of(service, asked, param=param)
    return service.info_of(name) or Unloaded(name)


def wait_for_model(
    service: Services, asked: str | None, waiter: WaitingRequest, *, param: str = "model"
) -> tuple[ModelInfo | None, float]:
    """Return what is known of the model that a request names, and the seconds until it was known.

    A model that was never loaded is loaded first. None is the one that the server begins with, before it is loaded,
    where its defaults are known without that. Raises ModelNotFound, ModelUnloadable, Loading, DeadlineExceeded,
    QueueFull, EngineUnavailable, and Cancelled when the client has left meanwhile.
    """
    found = look_up(service, asked, param=param)
    if not isinstance(found, Unloaded):
        return found, 0.0
    began = time.monotonic()
    info = _await(service, found.name, waiter)
    # Clients are told what is left of their time, which should be short to read.
    return info, round(time.monotonic() - began, 1)


def _await(service: Services, name: str, waiter: WaitingRequest) -> ModelInfo | None:
    """Let a request wait until its model is loaded; "" is the one that the server begins with."""
    question = ModelRequest(
        job=waiter.number, load=name, credential=credential(), dialect=waiter.dialect, prompt=waiter.prompt,
        client=client_address(),
    )  # fmt: skip
    ticket = service.client.load_model(question, waiter.timeout)
    with while_client_stays(request.environ, ticket.cancel):
        return ticket.model()


def ask_for(
    service: Services, number: int, name: str, timeout: float, *, default: bool = False, fetch: bool = False
) -> Ticket:
    """Have a model loaded as job `number`; with `fetch` it is downloaded where it has to be."""
    question = ModelRequest(
        job=number, load=name, default=default, fetch=fetch, credential=credential(), dialect="models"
    )  # fmt: skip
    return service.client.load_model(question, timeout)


def _named_models(service: Services) -> Iterator[tuple[str, ModelEntry]]:
    yield from service.registry.items()
    yield DEMO, ModelEntry(source=DEMO, family="qwen-image")


def _names_of_first(service: Services) -> tuple[str, ...]:
    """Return what the model may be called that the server begins with, as far as the settings tell."""
    first = service.settings.model
    entry = service.registry.get(first)
    return (first, entry.source) if entry else (first,)


def _is_foreseen(service: Services) -> bool:
    """Return whether the defaults of the model that the server begins with are known before it is loaded."""
    settings = service.settings
    entry = service.registry.get(settings.model) or ModelEntry(source=settings.model)
    chosen = settings.default_steps, settings.default_guidance_scale, settings.default_size
    own = entry.steps, entry.guidance, entry.size, entry.loras or None
    return entry.source in FORESEEN and not any(value is not None for value in (*chosen, *own))


def _is_on_disk(service: Services, entry: ModelEntry) -> bool:
    """Return whether a model's files seem to be there; whether they are whole is seen when it is loaded."""
    if entry.source == DEMO:
        return True
    settings = service.settings
    folder = settings.resolve(settings.models_dir)
    # As ModelScope and the Hub's library lay their caches out.
    places = [
        settings.resolve(Path(entry.source).expanduser()),
        folder / entry.source.replace(".", "___"),
        folder / "models" / entry.source.replace(".", "___"),
        folder / f"models--{entry.source.replace('/', '--')}" / "snapshots",
    ]
    return any(place.is_dir() for place in places)
