"""A transformer in one GGUF or safetensors file that replaces the model's own (TRANSFORMER_FILE)."""

import hashlib
import json
from pathlib import Path

import diffusers
import torch

from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.models import gguf_header
from imageserver.engine.models.weights import count_elements
from imageserver.settings import Settings

FORMATS = (".gguf", ".safetensors")


def bytes_by_component(settings: Settings, denoiser: str, dtype: torch.dtype) -> dict[str, int]:
    """Return the bytes of the component that the file replaces; raises ModelUnavailable.

    GGUF weights stay as they are in the file, others are loaded in `dtype`; no memory plan quantizes either.
    """
    file = _checked(settings)
    if file is None:
        return {}
    return {denoiser: file.stat().st_size if file.suffix == ".gguf" else count_elements(file) * dtype.itemsize}


def fingerprint(settings: Settings) -> str:
    """Return a short name of the file's content, from its name, size and time; empty without TRANSFORMER_FILE."""
    file = _found(settings)
    if file is None:
        return ""
    status = file.stat()
    return "+" + hashlib.sha256(f"{file} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]


def load(
    settings: Settings, folder: Path, denoiser: str, dtype: torch.dtype, place: torch.device
) -> dict[str, torch.nn.Module]:
    """Return the loaded component by its name in the pipeline, on the device `place`; empty without TRANSFORMER_FILE.

    Raises ModelUnavailable, or diffusers' own error for a file of another model.
    """
    file = _checked(settings)
    if file is None:
        return {}
    name = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))[denoiser][1]
    quantized = (
        {"quantization_config": diffusers.GGUFQuantizationConfig(compute_dtype=dtype)} if file.suffix == ".gguf" else {}
    )
    another = ModelUnavailable(
        f"TRANSFORMER_FILE={file.name} is another model's: it lacks weights that this one needs."
    )
    try:
        model = getattr(diffusers, name).from_single_file(
            str(file),
            config=str(folder),
            subfolder=denoiser,
            torch_dtype=dtype,
            device=place,
            local_files_only=True,
            **quantized,
        )
    except NotImplementedError as error:
        # diffusers silently leaves a component without weights empty, and then cannot move it.
        raise another from error
    if any(weight.is_meta for weight in model.parameters()):
        raise another
    return {denoiser: model}


def _found(settings: Settings) -> Path | None:
    if settings.transformer_file is None:
        return None
    file = settings.resolve(settings.transformer_file.expanduser())
    if file.suffix not in FORMATS:
        raise ModelUnavailable(
            f"TRANSFORMER_FILE={file.name} is neither .gguf nor .safetensors; other formats can run code."
        )
    if not file.is_file():
        raise ModelUnavailable(f"TRANSFORMER_FILE={settings.transformer_file} does not exist.")
    return file


def _checked(settings: Settings) -> Path | None:
    file = _found(settings)
    if file is not None and file.suffix == ".gguf" and (complaint := gguf_header.complaint(file)):
        raise ModelUnavailable(f"TRANSFORMER_FILE={file.name} {complaint}.")
    return file
