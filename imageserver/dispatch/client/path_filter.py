"""Keeps the machine's absolute paths out of everything that the HTTP worker gets to know, and so out of every answer.

The dispatcher and the engine know models, files and their errors by full paths, and log them so.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

import msgspec

from imageserver.dispatch.client.model_names import ModelNames
from imageserver.protocol import messages
from imageserver.registry import Registry, RegistryUnusable
from imageserver.settings import PACKAGE_DIR, WORKING_DIR, Settings

# What clients have written themselves, and get back as it was.
CLIENTS_OWN = ("prompt", "negative_prompt")
FOLDER_SETTINGS = ("models_dir", "lora_dir", "output_dir", "state_dir")
FILE_SETTINGS = ("text_encoder_path", "safety_checker", "transformer_file", "font_path", "c2pa_cert", "c2pa_key")

# A path, where it is quoted with its spaces; no address of the web, and no route of this server after its method.
QUOTED = r"""(?<=')/[^'/][^'\n]*(?=')|(?<=")/[^"/][^"\n]*(?=")"""
PART = r"""(?:[^\s'"`<>|)\]},;:]|[,;:](?=\w))"""
PLAIN = rf"""(?:file://|(?<![^\s'"`=(\[{{<,;:|])(?<!GET )(?<!POST )(?<!DELETE ))/(?!/){PART}+"""
WINDOWS = rf"""(?<!\w)[A-Za-z]:[\\/]{PART}+"""
REST = rf"""(?![\w-])(?:[\\/]+{PART}*)?"""


class PathFilter:
    """Shows models and files to clients by names that say nothing about the machine, and finds models by these."""

    def __init__(self, settings: Settings) -> None:
        registry: Registry = {}
        with contextlib.suppress(RegistryUnusable):
            registry = settings.registry()
        self.names = ModelNames(settings.model, registry)
        self._folders = _known_folders(settings, registry)
        self._pattern = self._compile()

    def received(self, message: messages.AnyMessage) -> messages.AnyMessage:
        """Return a message of the dispatcher without absolute paths."""
        match message:
            case messages.Snapshot():
                self._learn(info.name for info in message.models)
            case messages.Measured():
                return msgspec.structs.replace(message, series=tuple(map(self._with_shown_labels, message.series)))
            case messages.ModelResponse() if message.info is not None:
                self._learn([message.info.name])
        shown: messages.AnyMessage = self._without_paths(message)
        return shown

    def _with_shown_labels(self, series: messages.Series) -> messages.Series:
        # Thousands come at a time; few have a path.
        shown = tuple(map(self.shown, series.labels))
        return series if shown == series.labels else msgspec.structs.replace(series, labels=shown)

    def sent(self, message: messages.NumberedMessage) -> messages.NumberedMessage:
        """Return a message to the dispatcher with the names that it knows models by."""
        real = self.names.real
        match message:
            case messages.Submit() | messages.EstimateRequest() | messages.CacheHit():
                generation = dataclasses.replace(message.generation, model=real(message.generation.model))
                return msgspec.structs.replace(message, generation=generation)
            case messages.LoraRequest():
                return msgspec.structs.replace(message, model=real(message.model))
            case messages.ModelRequest():
                return msgspec.structs.replace(message, load=real(message.load), unload=real(message.unload))
        return message

    def shown(self, text: str) -> str:
        """Return a sentence or name in which every absolute path is replaced.

        A model's folder is what clients call the model, a file is named from the folder of its setting on, or by its
        last name.
        """
        if "/" not in text and "\\" not in text:
            return text
        return self._pattern.sub(lambda match: self._shown_path(match[0]), text)

    def _learn(self, names: Iterable[str]) -> None:
        if self.names.learn(names):
            self._pattern = self._compile()

    def _compile(self) -> re.Pattern[str]:
        known = sorted((*self._folders, *self.names.folders), key=len, reverse=True)
        return re.compile("|".join([*(re.escape(folder) + REST for folder in known), QUOTED, PLAIN, WINDOWS]))

    def _shown_path(self, found: str) -> str:
        path = found.rstrip(".")
        folders = {**self._folders, **self.names.folders}
        inside = (each for each in folders if path == each or path.startswith((each + "/", each + "\\")))
        folder = max(inside, key=len, default=None)
        rest = path[len(folder) :].strip("\\/") if folder else ""
        if folder is None or (rest and not folders[folder]):
            shown = PurePath(path.replace("\\", "/")).name
        elif not rest:
            shown = folders[folder] or Path(folder).name
        else:
            shown = f"{folders[folder]}/{rest}"
        return shown + found[len(path) :]

    def _without_paths(self, value: Any) -> Any:
        """Return a message, or a part of one, itself where it has no path."""
        match value:
            case str():
                return self.shown(value)
            case tuple():
                parts = tuple(self._without_paths(each) for each in value)
                return value if parts == value else parts
            case dict():
                return value | self._changes(value)
            case msgspec.Struct():
                changes = self._changes(msgspec.structs.asdict(value))
                return msgspec.structs.replace(value, **changes) if changes else value
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            changes = self._changes(vars(value))
            return dataclasses.replace(value, **changes) if changes else value
        return value

    def _changes(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return what fields are without paths, of those that have any."""
        shown = {name: self._without_paths(each) for name, each in fields.items() if name not in CLIENTS_OWN}
        if Path(model := fields.get("model", "")).is_absolute():
            shown["model"] = self.names.folders.get(model, Path(model).name)  # maybe never loaded, so not known
        return {name: each for name, each in shown.items() if each != fields[name]}


def _known_folders(settings: Settings, registry: Registry) -> Mapping[str, str]:
    """Return the paths that may be named, spaces included, and what each is called; "" is the last name."""
    known = {str(path): "" for path in (PACKAGE_DIR, WORKING_DIR, Path.home())}
    files = (*settings.controlnets, *(str(getattr(settings, name) or "") for name in FILE_SETTINGS))
    known |= {path: Path(path).name for path in files}
    known |= {str(settings.resolve(getattr(settings, name))): name.upper() for name in FOLDER_SETTINGS}
    known |= {entry.source: name for name, entry in registry.items()}
    return {path: name for path, name in known.items() if Path(path).is_absolute() and len(Path(path).parts) > 1}
