"""Where a model comes from: the embedded demo, a local folder, ModelScope or Hugging Face."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imageserver.settings import PROJECT_ROOT, Settings

DEMO_FOLDER = PROJECT_ROOT / "imageserver" / "demo_model"
# Pickle weights can run code when they are loaded, so they are not even downloaded.
WANTED_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]

Report = Callable[[str, str, float | None], None]


class ModelUnavailable(Exception):
    """The model cannot be had; the message is one sentence for the user."""


def locate(model: str, settings: Settings, report: Report) -> Path:
    """Return the folder with the model's files, downloading them where that is allowed.

    `report` is told (phase, sentence, fraction). Raises ModelUnavailable.
    """
    if model == "demo":
        return DEMO_FOLDER
    folder = settings.resolve(Path(model).expanduser())
    if folder.is_dir():
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelUnavailable(f"MODEL={model} is neither a folder nor an id like Qwen/Qwen-Image.")
    download = _from_modelscope if settings.model_source == "modelscope" else _from_huggingface
    return download(model, settings, report)


class _Meter:
    """Adds up the bytes of all files that are being downloaded."""

    def __init__(self, model: str, report: Report) -> None:
        self._model, self._report = model, report
        self._lock = threading.Lock()
        self._total = self._done = 0
        self._said = -1

    def expect(self, size: int) -> None:
        with self._lock:
            self._total += size

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            percent = int(100 * self._done / self._total) if self._total else 0
            if percent == self._said:
                return
            self._said = percent
        gigabytes = f"{self._done / 1e9:.2f} of {self._total / 1e9:.2f} GB"
        self._report("downloading", f"{self._model}: {gigabytes}", min(1.0, self._done / max(1, self._total)))


def _from_modelscope(model: str, settings: Settings, report: Report) -> Path:
    from modelscope import snapshot_download
    from modelscope.hub.callback import ProgressCallback

    meter = _Meter(model, report)

    class Metered(ProgressCallback):  # type: ignore[misc]
        def __init__(self, filename: str, file_size: int) -> None:
            super().__init__(filename, file_size)
            meter.expect(file_size)

        def update(self, size: int) -> None:
            meter.add(size)

    if not settings.offline:
        report("downloading", f"{model} is being fetched from ModelScope.", None)
    try:
        return Path(
            snapshot_download(
                model,
                cache_dir=str(settings.resolve(settings.models_dir)),
                local_files_only=settings.offline,
                allow_patterns=WANTED_FILES,
                progress_callbacks=[Metered],
            )
        )
    except Exception as error:
        raise _explain(model, "ModelScope", settings, error) from error


def _from_huggingface(model: str, settings: Settings, report: Report) -> Path:
    from huggingface_hub import snapshot_download
    from tqdm.auto import tqdm

    meter = _Meter(model, report)

    class Metered(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            self._counts_bytes = options.get("unit") == "B"
            if self._counts_bytes:
                meter.expect(int(options.get("total") or 0))
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts_bytes:
                meter.add(int(n or 0))
            return None

    if not settings.offline:
        report("downloading", f"{model} is being fetched from Hugging Face.", None)
    try:
        return Path(
            snapshot_download(
                model,
                cache_dir=str(settings.resolve(settings.models_dir)),
                local_files_only=settings.offline,
                allow_patterns=WANTED_FILES,
                tqdm_class=Metered,
            )
        )
    except Exception as error:
        raise _explain(model, "Hugging Face", settings, error) from error


def _explain(model: str, source: str, settings: Settings, error: Exception) -> ModelUnavailable:
    if settings.offline:
        return ModelUnavailable(
            f"OFFLINE=1 and {model} is not in {settings.models_dir}: start once without OFFLINE to download it, "
            "or set MODEL=demo."
        )
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[0][:200] if lines else 'no reason given'}"
    return ModelUnavailable(
        f"{model} could not be fetched from {source} ({reason}); check the id and the network, or set MODEL=demo."
    )
