"""A transformer in one GGUF or safetensors file that replaces the model's own (TRANSFORMER_FILE)."""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from diffusers.models.model_loading_utils import load_gguf_checkpoint
from safetensors import safe_open

from imageserver.engine import file_kinds
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.downloads.file_choice import INDEX
from imageserver.engine.lora_formats import original_names
from imageserver.engine.models.weight_files import checkpoint_names, gguf_header, scaled_weights
from imageserver.engine.models.weight_files.weights import fingerprint_of_file
from imageserver.engine.weight_names import owner_of
from imageserver.safetensors_header import DamagedHeader, read_header
from imageserver.settings import Settings

GGUF, SAFETENSORS = ".gguf", ".safetensors"
# A scale in one of these is a number beside a weight, and takes no memory in the model.
SCALE_ENDINGS = (*scaled_weights.SCALES, *scaled_weights.INPUT_SCALES)


def bytes_by_component(settings: Settings, denoiser: str, dtype: torch.dtype) -> dict[str, int]:
    """Return the bytes of the component that the file replaces; raises ModelUnavailable.

    GGUF weights stay as they are in the file, others are loaded in `dtype`; no memory plan quantizes either.
    """
    file = _checked(settings)
    if file is None:
        return {}
    if _is_gguf(file):
        return {denoiser: file.stat().st_size}
    tensors = read_header(file).tensors
    names = checkpoint_names.denoiser_names(tensors)
    elements = sum(math.prod(tensors[name].shape) for name in names if not name.endswith(SCALE_ENDINGS))
    return {denoiser: elements * dtype.itemsize}


def fingerprint(settings: Settings) -> str:
    """Return a short name of the file's content, from its name, size and time; empty without TRANSFORMER_FILE."""
    file = _found(settings)
    return "" if file is None else f"+{fingerprint_of_file(file)}"


def load(
    settings: Settings, folder: Path, denoiser: str, dtype: torch.dtype, place: torch.device
) -> dict[str, torch.nn.Module]:
    """Return the loaded component by its name in the pipeline, on the device `place`; empty without TRANSFORMER_FILE.

    Raises ModelUnavailable, or diffusers' own error for a file of another model.
    """
    file = _checked(settings)
    if file is None:
        return {}
    kind = getattr(diffusers, json.loads((folder / INDEX).read_text(encoding="utf-8"))[denoiser][1])
    tensors = _tensors(file, dtype)
    names = list(tensors)
    options = {"quantization_config": diffusers.GGUFQuantizationConfig(compute_dtype=dtype)} if _is_gguf(file) else {}
    try:
        model = kind.from_single_file(
            tensors, config=str(folder), subfolder=denoiser, torch_dtype=dtype, device=place, local_files_only=True,
            **options,
        )  # fmt: skip
    except NotImplementedError as error:
        # diffusers silently leaves a component without weights empty, and then cannot move it.
        raise _another_models(file, names, _lack(kind, folder / denoiser, names)) from error
    except (ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise _another_models(file, names, reason) from error
    if any(weight.is_meta for weight in model.parameters()):
        raise _another_models(file, names, _lack(kind, folder / denoiser, names))
    known = model.state_dict().keys()
    # Names that diffusers has converted it has also compared.
    if unknown := sorted(set(names) - known) if known <= set(names) else []:
        raise _another_models(file, names, f"it has {unknown[0]}, which this one has not")
    return {denoiser: model}


def _tensors(file: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Return the transformer's tensors by the names that diffusers knows."""
    if _is_gguf(file):
        found = load_gguf_checkpoint(str(file))
        return {name: found[key] for key, name in _as_diffusers_reads(found).items()}
    with safe_open(file, framework="pt") as content:
        names = _as_diffusers_reads(read_header(file).tensors)
        tensors = {name: content.get_tensor(key) for key, name in names.items()}
        if scaled_weights.MARK in content.keys():  # noqa: SIM118
            tensors[scaled_weights.MARK] = content.get_tensor(scaled_weights.MARK)
    return dict(scaled_weights.unscaled(f"TRANSFORMER_FILE={file.name}", tensors, dtype))


def _as_diffusers_reads(names: Collection[str]) -> Mapping[str, str]:
    """Return the denoiser's tensors by the names in the file, with those that diffusers converts or knows.

    It finds the original layers of a UNet by the prefix that they have in a whole checkpoint.
    """
    chosen = checkpoint_names.denoiser_names(names)
    if any(name.startswith("input_blocks.") for name in chosen.values()):
        return {key: f"model.diffusion_model.{name}" for key, name in chosen.items()}
    return chosen


def _lack(kind: Any, component: Path, names: list[str]) -> str:
    """Return a clause about weights that are not in a file, with a name where diffusers converts no names."""
    sentence = "it lacks weights that this one needs"
    if kind.__name__ in original_names.BY_CLASS:
        return sentence
    with init_empty_weights():
        model = kind.from_config(kind.load_config(str(component), local_files_only=True))
    missing = sorted({name for name, _ in model.named_parameters()} - set(names))
    count = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"{sentence} ({missing[0]}{count})" if missing else sentence


def _another_models(file: Path, names: list[str], reason: str) -> ModelUnavailable:
    owner = owner_of(names)
    whose = f" (its names are those of {owner})" if owner else ""
    return ModelUnavailable(f"TRANSFORMER_FILE={file.name} is another model's{whose}: {reason}.")


def _found(settings: Settings) -> Path | None:
    if settings.transformer_file is None:
        return None
    file = settings.resolve(settings.transformer_file.expanduser())
    if file.suffix.lower() not in (GGUF, SAFETENSORS):
        raise ModelUnavailable(
            f"TRANSFORMER_FILE={file.name} is neither .gguf nor .safetensors; other formats can run code."
        )
    if not file.is_file():
        raise ModelUnavailable(f"TRANSFORMER_FILE={settings.transformer_file} does not exist.")
    return file


def _checked(settings: Settings) -> Path | None:
    """Return the file where its header says that it is whole and contains a transformer; raises ModelUnavailable."""
    file = _found(settings)
    if file is None:
        return None
    complaint = gguf_header.complaint(file) if _is_gguf(file) else _safetensors_complaint(file)
    if complaint:
        raise ModelUnavailable(f"TRANSFORMER_FILE={file.name} {complaint}.")
    return file


def _safetensors_complaint(file: Path) -> str | None:
    try:
        header = read_header(file)
    except DamagedHeader:
        return file_kinds.complaint(file)
    size = file.stat().st_size
    if size != header.file_bytes:
        return f"has {size} of {header.file_bytes} bytes"
    if complaint := checkpoint_names.complaint(header.tensors):
        return complaint
    if unknown := checkpoint_names.left_over(header.tensors):
        return f"contains {unknown[0]}, which belongs to no part of a model that this server knows"
    return None


def _is_gguf(file: Path) -> bool:
    return file.suffix.lower() == GGUF
