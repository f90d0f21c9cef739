"""A model's weights on the disk: their bytes, whether all are there, and a fingerprint of their content."""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Collection
from pathlib import Path

import torch

from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.downloads.file_choice import variant_of
from imageserver.engine.families.family import Family

# As diffusers and transformers name weights, in one file or in several, where no variant is asked for.
PLAIN_WEIGHTS = re.compile(r"(diffusion_pytorch_)?model(-\d+-of-\d+)?\.safetensors")
MAX_HEADER_BYTES = 100_000_000
# Enough to contain the names and shapes of the first tensors.
FINGERPRINTED_BYTES = 65_536


def weight_bytes(folder: Path, dtype: torch.dtype, left_out: Collection[str] = ()) -> dict[str, int]:
    """Return the bytes that the weights of every component take in `dtype`, read from the headers of their files.

    Components that the pipeline does not name, or that are `left_out`, are not loaded and not counted.
    """
    sizes = {name: component_bytes(folder / name, dtype) for name in _components_of(folder) if name not in left_out}
    return {name: size for name, size in sizes.items() if size}


def component_bytes(component: Path, dtype: torch.dtype) -> int:
    """Return the bytes that the weights in one component's folder take in `dtype`."""
    files = list(component.glob("*.safetensors"))
    # The same weights may be there in a variant too: SDXL's UNet has a `diffusion_pytorch_model.fp16.safetensors`.
    plain = [file for file in files if PLAIN_WEIGHTS.fullmatch(file.name)]
    return sum(map(_count_elements, plain or files)) * dtype.itemsize


def refuse_if_incomplete(model: str, folder: Path, family: Family) -> None:
    """Raise ModelUnavailable where a component has no folder: diffusers might make an empty one instead."""
    separate = family.separate_text_encoder
    not_needed = {*family.loading, *((separate.component, separate.tokenizer) if separate else ())}
    missing = [name for name in _components_of(folder) if name not in not_needed and not (folder / name).is_dir()]
    if missing:
        raise ModelUnavailable(f"{model} is incomplete: its folder has no {' and no '.join(missing)}.")


def variant(folder: Path) -> str | None:
    """Return the variant, such as fp16, of a component that has no plain weights; None where all have."""
    for name in _components_of(folder):
        found = {variant_of(file.name) for file in (folder / name).glob("*.safetensors")}
        if found and "" not in found:
            return min(found)
    return None


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


def _components_of(folder: Path) -> list[str]:
    """Return the components that a model's pipeline is made of."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return [name for name, entry in index.items() if isinstance(entry, list) and any(entry)]


def _count_elements(file: Path) -> int:
    """Return the number of elements of all tensors in a safetensors file, from its header; 0 where it is unreadable."""
    with contextlib.suppress(ValueError, KeyError, OSError), file.open("rb") as content:
        size = int.from_bytes(content.read(8), "little")
        header = json.loads(content.read(min(size, MAX_HEADER_BYTES)))
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return 0
