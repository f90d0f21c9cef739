"""The models that requests may name, and the info of each; the first request that names a model loads it."""

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
from imageserver.registry import DEMO, ModelEntry

# What stands for the default model.
UNNAMED = (None, "", "auto")
# Their defaults are Qwen-Image's and known before one is loaded.
KNOWN_BEFORE_LOADING = ("auto", DEMO, "Qwen/Qwen-Image")


@dataclass(frozen=True)
class Listed:
    """A model that requests may name: `info` once it has been loaded, `loaded` while it is in memory.

    The `family` of one that was never loaded is the registry's, which may be empty.
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


def downloadable(service: Services) -> list[tuple[str, ModelEntry]]:
    """Return the names and entries of the models that a download would bring, and whose size is known.

    Of several names for the same files it is one, which is not an id on a hub where there is such a name.
    """
    if service.settings.offline or service.settings.model_loading == "off":
        return []
    models = service.snapshot.models if service.snapshot else ()
    known = {each for info in models for each in (info.name, info.source)}
    named = [
        (name, entry)
        for name, entry in service.registry.items()
        if entry.download_gb and name not in known and entry.source not in known and not _is_on_disk(service, entry)
    ]
    chosen: dict[str, str] = {}
    for name, entry in sorted(named, key=lambda each: "/" in each[0]):
        chosen.setdefault(entry.source, name)
    return [(name, entry) for name, entry in named if chosen[entry.source] == name]


def find_name(service: Services, asked: str) -> str | None:
    """Return the name of a model by its name, or else its source; None where no request may name it."""
    asked = service.client.names.shown(asked)
    loading = service.settings.model_loading
    sources = [(info.name, info.source) for info in (service.snapshot.models if service.snapshot else ())]
    sources += [] if loading == "off" else [(name, entry.source) for name, entry in _named_models(service)]
    if any(asked == name for name, _ in sources):
        return asked  # a source may be shown as the name of another model that has the same
    otherwise = asked if loading == "any" and "/" in asked else None
    return next((name for name, source in sources if asked == source), otherwise)


def name_of(service: Services, asked: str | None, *, param: str = "model") -> str:
    """Return the name of the model that a request means; raises ModelNotFound, or Loading before one is loaded."""
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
    """Return the info of a request's model without waiting for it.

    None is the model that the server starts with, before it is loaded, where its defaults are known without that.
    Raises ModelNotFound, Loading.
    """
    default = service.info_of("")
    if default is None and asked in (*UNNAMED, *_names_of_first(service)):
        return None if _has_known_defaults(service) else Unloaded("")
    if asked in UNNAMED:
        return default
    name = name_of(service, asked, param=param)
    return service.info_of(name) or Unloaded(name)


def wait_for_model(
    service: Services, asked: str | None, waiter: WaitingRequest, *, param: str = "model"
) -> tuple[ModelInfo | None, float]:
    """Return the info of a request's model, and the seconds that it took to get it.

    A model that was never loaded is loaded first. None is the model that the server starts with, before it is loaded,
    where its defaults are known without that. Raises ModelNotFound, ModelUnloadable, Loading, DeadlineExceeded,
    QueueFull, EngineUnavailable, and Cancelled when the client has left meanwhile.
    """
    found = look_up(service, asked, param=param)
    if not isinstance(found, Unloaded):
        return found, 0.0
    began = time.monotonic()
    question = ModelRequest(
        job=waiter.number, load=found.name, credential=credential(), dialect=waiter.dialect, prompt=waiter.prompt,
        client=client_address(),
    )  # fmt: skip
    ticket = service.client.load_model(question, waiter.timeout)
    with while_client_stays(request.environ, ticket.cancel):
        info = ticket.model()
    # Clients read what is left of their time in error messages: one decimal is enough.
    return info, round(time.monotonic() - began, 1)


def ask_for(
    service: Services, number: int, name: str, timeout: float, *, default: bool = False, fetch: bool = False
) -> Ticket:
    """Ask for a model to be loaded as job `number`; with `fetch` it is downloaded if it is not on disk."""
    question = ModelRequest(
        job=number, load=name, default=default, fetch=fetch, credential=credential(), dialect="models"
    )  # fmt: skip
    return service.client.load_model(question, timeout)


def _named_models(service: Services) -> Iterator[tuple[str, ModelEntry]]:
    yield from service.registry.items()
    yield DEMO, ModelEntry(source=DEMO, family="qwen-image")


def _names_of_first(service: Services) -> tuple[str, ...]:
    """Return the names, known from the settings, of the model that the server starts with."""
    first = service.settings.model
    entry = service.registry.get(first)
    return (first, service.client.names.shown(first), *([entry.source] if entry else []))


def _has_known_defaults(service: Services) -> bool:
    """Return whether the defaults of the model that the server starts with are known before it is loaded."""
    settings = service.settings
    entry = service.registry.get(settings.model) or ModelEntry(source=settings.model)
    chosen = settings.default_steps, settings.default_guidance_scale, settings.default_size
    own = entry.steps, entry.guidance, entry.size, entry.loras or None
    return entry.source in KNOWN_BEFORE_LOADING and not any(value is not None for value in (*chosen, *own))


def _is_on_disk(service: Services, entry: ModelEntry) -> bool:
    """Return whether a model's files seem to be on disk; loading shows whether they are complete."""
    if entry.source == DEMO:
        return True
    settings = service.settings
    folder = settings.resolve(settings.models_dir)
    # The layouts of ModelScope's and the Hub library's caches.
    candidates = [
        settings.resolve(Path(entry.source).expanduser()),
        folder / entry.source.replace(".", "___"),
        folder / "models" / entry.source.replace(".", "___"),
        folder / f"models--{entry.source.replace('/', '--')}" / "snapshots",
    ]
    return any(candidate.exists() for candidate in candidates)
