"""A model's weights on the disk: their bytes, whether all are there, and a fingerprint of their content."""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from imageserver.engine.devices.memory_needs import DENOISERS, ModelWeights, decoding_bytes
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.downloads.file_choice import variant_of
from imageserver.engine.families.family import Family
from imageserver.safetensors_header import DamagedHeader, read_header

# As diffusers and transformers name weights, in one file or in several, where no variant is asked for.
PLAIN_WEIGHTS = re.compile(r"(diffusion_pytorch_)?model(-\d+-of-\d+)?\.safetensors")
# Enough to contain the names and shapes of the first tensors.
FINGERPRINTED_BYTES = 65_536


def model_weights(components: Mapping[str, Path], dtype: torch.dtype, replaced: Mapping[str, int]) -> ModelWeights:
    """Return the bytes of the components in these folders in `dtype`, read from the headers of their files.

    `replaced` are those of components that come from elsewhere and are loaded as they are.
    """
    loaded = {name: folder for name, folder in components.items() if name not in replaced}
    sizes = {name: size for name, folder in loaded.items() if (size := component_bytes(folder, dtype))}
    files = [file for name in sizes for file in files_of(loaded[name])]
    return ModelWeights(
        components=sizes | dict(replaced),
        fixed=frozenset(replaced) | {name for name in sizes if is_quantized(loaded[name])},
        decoding=decoding_bytes(_config(components["vae"]), dtype) if "vae" in components else 0.0,
        largest_file=max((*(file.stat().st_size for file in files), *replaced.values()), default=0),
        divisible=sum(_divisible_bytes(loaded[name], dtype) for name in DENOISERS & sizes.keys()),
    )


def component_bytes(component: Path, dtype: torch.dtype) -> int:
    """Return the bytes that the weights in one component's folder take in `dtype`, or as they are if quantized."""
    files = files_of(component)
    if is_quantized(component):
        return sum(file.stat().st_size for file in files)
    return sum(map(count_elements, files)) * dtype.itemsize


def _divisible_bytes(denoiser: Path, dtype: torch.dtype) -> int:
    """Return the bytes of a denoiser's matrices; its biases are small, and what is small is not divided."""
    if is_quantized(denoiser):
        return 0
    return sum(count_elements(file, dimensions=2) for file in files_of(denoiser)) * dtype.itemsize


def component_variant(component: Path) -> str | None:
    """Return the variant, such as fp16, of a component whose folder has no plain weights."""
    found = {variant_of(file.name) for file in component.glob("*.safetensors")}
    return min(found) if found and "" not in found else None


def components_of(folder: Path, left_out: Collection[str]) -> dict[str, Path]:
    """Return the folders of the components that a model's pipeline is made of, without those `left_out`."""
    return {name: folder / name for name in _names_in(folder) if name not in left_out}


def refuse_if_incomplete(model: str, folder: Path, family: Family) -> None:
    """Raise ModelUnavailable where a component has no folder: diffusers might make an empty one instead."""
    separate = family.separate_text_encoder
    not_needed = {*family.loading, *((separate.component, separate.tokenizer) if separate else ())}
    missing = [name for name in _names_in(folder) if name not in not_needed and not (folder / name).is_dir()]
    if missing:
        raise ModelUnavailable(f"{model} is incomplete: its folder has no {' and no '.join(missing)}.")


def variant(folder: Path) -> str | None:
    """Return the variant of the first component that has no plain weights; None where all have."""
    return next((found for name in _names_in(folder) if (found := component_variant(folder / name))), None)


def fingerprint(folder: Path) -> str:
    """Return a short name of the folder's content, from its configuration and the headers and sizes of its weights."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".json":
            digest.update(file.read_bytes())
        elif file.suffix == ".safetensors":
            with file.open("rb") as content:
                digest.update(content.read(FINGERPRINTED_BYTES))
            digest.update(f"{file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def fingerprint_of_file(file: Path) -> str:
    """Return a short name of a file's content, from its name, size and time."""
    status = file.stat()
    return hashlib.sha256(f"{file} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]


def _names_in(folder: Path) -> list[str]:
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return [name for name, entry in index.items() if isinstance(entry, list) and any(entry)]


def files_of(component: Path) -> list[Path]:
    """Return the files that are loaded: beside the plain ones a variant may lie, as for SDXL's UNet."""
    files = list(component.glob("*.safetensors"))
    return [file for file in files if PLAIN_WEIGHTS.fullmatch(file.name)] or files


def is_quantized(component: Path) -> bool:
    """Return whether the weights were quantized before they were published."""
    return "quantization_config" in _config(component)


def _config(component: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        config = json.loads((component / "config.json").read_text(encoding="utf-8"))
        if isinstance(config, dict):
            return config
    return {}


def count_elements(file: Path, dimensions: int = 0) -> int:
    """Return the number of elements of all tensors in a safetensors file, from its header; 0 where it is unreadable.

    Only those of so many `dimensions` are counted, if that is given.
    """
    with contextlib.suppress(DamagedHeader, OSError):
        shapes = [tensor.shape for tensor in read_header(file).tensors.values()]
        return sum(math.prod(shape) for shape in shapes if not dimensions or len(shape) == dimensions)
    return 0
