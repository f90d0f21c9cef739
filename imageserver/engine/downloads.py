"""Where a model comes from: the embedded demo, a local folder, ModelScope or Hugging Face."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import requests

from imageserver.settings import PACKAGE_DIR, Settings

DEMO_FOLDER = PACKAGE_DIR / "demo_model"
# Pickle weights can run code when they are loaded, so they are not downloaded.
CONFIG_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]
# A pipeline's weights are in the folders of its components; a file beside these folders is a copy of all of them.
PIPELINE_FILES = [*CONFIG_FILES, "*/*.safetensors"]
COMPONENT_FILES = [*CONFIG_FILES, "*.safetensors"]
# The same weights in another format, or as training left them. ModelScope's library reads `.*` as a regular expression.
VARIANTS = [f"*.{variant}{end}.safetensors" for variant in ("fp16", "bf16", "non_ema") for end in ("", "-*")]

GROWTH_INTERVAL_SECONDS = 1.0
# Seconds before a download is tried again, from where it stopped; connections return within minutes or not at all.
RETRY_SECONDS = (2.0, 10.0, 30.0, 120.0)

Report = Callable[[str, str, float | None], None]


class ModelUnavailable(Exception):
    """The model is unavailable; the message is one sentence for the user."""


class NotOnDisk(ModelUnavailable):
    """The model is not on the disk, and downloading is not allowed."""


def locate(
    model: str,
    settings: Settings,
    report: Report,
    *,
    setting: str = "MODEL",
    hub: str | None = None,
    revision: str | None = None,
    wanted: Sequence[str] = COMPONENT_FILES,
) -> Path:
    """Return the folder with the model's files, downloading those `wanted` where that is allowed.

    `report` is called with (phase, sentence, fraction); `setting` is where the name came from. `hub` defaults to
    MODEL_SOURCE, `revision` to the newest there. Raises ModelUnavailable.
    """
    if model == "demo":
        return DEMO_FOLDER
    folder = settings.resolve(Path(model).expanduser())
    if folder.is_dir():
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelUnavailable(f"{setting}={model} is neither a folder nor an id like Qwen/Qwen-Image.")
    download = _from_modelscope if (hub or settings.model_source) == "modelscope" else _from_huggingface
    return download(model, revision, list(wanted), settings, report)


class _ProgressMeter:
    """Adds up the bytes of all files that are being downloaded."""

    def __init__(self, model: str, report: Report) -> None:
        self._model, self._report = model, report
        self._lock = threading.Lock()
        self._total = self._done = 0
        self._last_percent = -1

    def expect(self, size: int) -> None:
        with self._lock:
            self._total += size

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            percent = int(100 * self._done / self._total) if self._total else 0
            if percent == self._last_percent:
                return
            self._last_percent = percent
        gigabytes = f"{self._done / 1e9:.2f} of {self._total / 1e9:.2f} GB"
        self._report("downloading", f"{self._model}: {gigabytes}", min(1.0, self._done / max(1, self._total)))


def _from_modelscope(model: str, revision: str | None, wanted: list[str], settings: Settings, report: Report) -> Path:
    from modelscope import snapshot_download
    from modelscope.hub.callback import ProgressCallback

    meter = _ProgressMeter(model, report)

    class Metered(ProgressCallback):  # type: ignore[misc]
        def __init__(self, filename: str, file_size: int) -> None:
            super().__init__(filename, file_size)
            meter.expect(file_size)

        def update(self, size: int) -> None:
            meter.add(size)

    if not settings.offline:
        report("downloading", f"{model} is being fetched from ModelScope.", None)

    def fetch() -> Path:
        return Path(
            snapshot_download(
                model,
                revision=revision,
                cache_dir=str(settings.resolve(settings.models_dir)),
                local_files_only=settings.offline,
                allow_patterns=wanted,
                ignore_patterns=VARIANTS,
                progress_callbacks=[Metered],
            )
        )

    return _with_retries(fetch, model, "ModelScope", settings, report)


def _from_huggingface(model: str, revision: str | None, wanted: list[str], settings: Settings, report: Report) -> Path:
    from huggingface_hub import snapshot_download

    folder = settings.resolve(settings.models_dir)
    options: dict[str, Any] = {
        "cache_dir": str(folder), "revision": revision, "allow_patterns": wanted, "ignore_patterns": VARIANTS,
        "endpoint": settings.hf_endpoint,
    }  # fmt: skip

    def fetch() -> Path:
        if settings.offline:
            return Path(str(snapshot_download(model, local_files_only=True, **options)))
        report("downloading", f"{model} is being fetched from Hugging Face.", None)
        meter = _ProgressMeter(model, report)
        meter.expect(
            sum(file.file_size for file in snapshot_download(model, dry_run=True, **options) if file.will_download)
        )
        with _growth_of(folder / f"models--{model.replace('/', '--')}", meter):
            return Path(str(snapshot_download(model, **options)))

    return _with_retries(fetch, model, "Hugging Face", settings, report)


def _with_retries(fetch: Callable[[], Path], model: str, source: str, settings: Settings, report: Report) -> Path:
    """Return the folder that `fetch` returns; retries after a network failure, where hub libraries resume."""
    pauses = iter(() if settings.offline else RETRY_SECONDS)
    while True:
        try:
            return fetch()
        except Exception as error:
            pause = next(pauses, None) if _may_recover(error) else None
            if pause is None:
                raise _explain(model, source, settings, error) from error
            reason = _reason(error)
        report("downloading", f"{model}: {source} cannot be reached ({reason}); tried again in {pause:g} s.", None)
        time.sleep(pause)


def _may_recover(error: Exception) -> bool:
    """Return whether a failure of the network or the hub may pass, unlike a response such as 404."""
    from huggingface_hub.errors import DryRunError, LocalEntryNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status == 429 or status >= 500
    if isinstance(error, DryRunError):  # it wraps another error
        return isinstance(error.__cause__, Exception) and _may_recover(error.__cause__)
    kinds = (ConnectionError, TimeoutError, requests.ConnectionError, requests.Timeout, LocalEntryNotFoundError)
    # By its name: Hugging Face's library has changed its HTTP library before.
    return isinstance(error, kinds) or any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no reason given'}"


@contextlib.contextmanager
def _growth_of(folder: Path, meter: _ProgressMeter) -> Iterator[None]:
    """Add the bytes that arrive in `folder` to the meter: the hub's own bars count some twice."""

    def size() -> int:
        total = 0
        for file in folder.rglob("*"):
            with contextlib.suppress(OSError):  # files are renamed meanwhile
                total += 0 if file.is_symlink() else file.stat().st_size
        return total

    def watch(known: int) -> None:
        while not done.wait(GROWTH_INTERVAL_SECONDS):
            now = size()
            meter.add(now - known)
            known = now
        meter.add(size() - known)

    done = threading.Event()
    watcher = threading.Thread(target=watch, args=[size()], name="download-meter", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _explain(model: str, source: str, settings: Settings, error: Exception) -> ModelUnavailable:
    if settings.offline:
        return NotOnDisk(
            f"OFFLINE=1 and {model} is not in {settings.models_dir}: start once without OFFLINE to download it, "
            "or set MODEL=demo."
        )
    return ModelUnavailable(
        f"{model} could not be fetched from {source} ({_reason(error)}); check the id and the network, "
        "or set MODEL=demo."
    )
