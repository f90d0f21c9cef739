"""`python -m imageserver.engine.models.storage`: a StorageRequest on stdin, its answers as lines of JSON on stdout."""

import dataclasses
import sys

from imageserver.engine.downloads.stored_models import remove, stored_models
from imageserver.engine.downloads.unavailable import ModelUnavailable
from imageserver.protocol.model_storage import StorageAnswer, StorageRequest, read_request
from imageserver.settings import Settings


def main() -> None:
    request, settings = read_request(sys.stdin.read())
    try:
        _answer(request, settings)
    except ModelUnavailable as error:
        _write(StorageAnswer(error=str(error)))


def _answer(request: StorageRequest, settings: Settings) -> None:
    match request.action:
        case "list":
            _write(StorageAnswer(models=[dataclasses.asdict(model) for model in stored_models(settings)]))
        case "remove":
            _write(StorageAnswer(removed_bytes=remove(request.name, settings)))
        case "pull":
            # PyTorch takes seconds to import, which the others do not need.
            from imageserver.engine.devices.devices import DeviceUnavailable
            from imageserver.engine.models.model_choice import CONFIGURED_MODEL_ONLY, find

            def report(phase: str, sentence: str, fraction: float | None) -> None:
                _write(StorageAnswer(progress=sentence, fraction=fraction))

            if settings.model not in ("auto", request.name):  # any may be what MODEL=auto means
                settings = settings.model_copy(update=CONFIGURED_MODEL_ONLY)
            try:
                found = find(settings.model_copy(update={"model": request.name}), report)
            except DeviceUnavailable as error:
                raise ModelUnavailable(str(error)) from error
            _write(StorageAnswer(folder=str(found.folder)))


def _write(answer: StorageAnswer) -> None:
    sys.stdout.write(answer.write() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
