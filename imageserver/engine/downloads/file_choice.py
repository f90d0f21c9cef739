"""Which files of a model on a hub will be loaded: no second format, and nothing that the server leaves out."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

INDEX = "model_index.json"
# Pickle weights can run code when they are loaded, so they are not downloaded.
CONFIG_SUFFIXES = (".json", ".txt", ".model", ".jinja")
# The names that diffusers and transformers give weights: in one file or several, plain or in a variant such as fp16.
WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_)?model(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?(?:\.(?P<old>\w+))?\.safetensors"
)
WEIGHTS_INDEX = re.compile(
    r"(?:diffusion_pytorch_)?model(?:\.(?P<variant>\w+))?\.safetensors\.index(?:\.(?P<late>\w+))?\.json"
)
# A variant this much smaller than the plain weights is what they become in 16 bits.
HALF = 0.75


def component_files(files: Mapping[str, int], present: Collection[str]) -> set[str]:
    """Return the files of a single component, whose weights are at the top, by the sizes of all files of the hub.

    Weights in `present` are on the disk already.
    """
    weights = {name: size for name, size in files.items() if name.endswith(".safetensors")}
    return _configurations(files) | _one_format(weights, present, half=False)


def pipeline_files(
    files: Mapping[str, int],
    present: Collection[str],
    index: Mapping[str, Any],
    *,
    left_out: Collection[str],
    replaced: Collection[str],
    half: bool,
) -> set[str]:
    """Return the files of a pipeline whose `model_index.json` is given.

    `left_out` components are not loaded, those in `replaced` get their weights from elsewhere. `half` is set where
    weights are loaded in 16 bits.
    """
    components = {name for name, entry in index.items() if isinstance(entry, list) and any(entry)} - set(left_out)
    chosen = {INDEX}
    for component in components:
        own = {name: size for name, size in files.items() if name.startswith(f"{component}/")}
        weights = {name: size for name, size in own.items() if re.fullmatch(r"[^/]+/[^/]+\.safetensors", name)}
        kept = set() if component in replaced else _one_format(weights, present, half=half)
        variants = {variant_of(name) for name in kept}
        chosen |= kept | {name for name in _configurations(own) if _index_variant(name) in (*variants, None)}
    return chosen


def _one_format(weights: Mapping[str, int], present: Collection[str], *, half: bool) -> set[str]:
    """Return the weights in one of the formats that they are there in; unknown names belong to the plain one."""
    formats: dict[str, dict[str, int]] = defaultdict(dict)
    for name, size in weights.items():
        formats[variant_of(name)][name] = size
    if not formats:
        return set()
    formats.pop("non_ema", None)
    plain, fp16 = formats.get(""), formats.get("fp16")
    if plain and plain.keys() <= set(present):
        return set(plain)
    if plain and half and fp16 and sum(fp16.values()) < HALF * sum(plain.values()):
        return set(fp16)
    return set(plain or fp16 or next(iter(formats.values()), {}))


def _configurations(files: Collection[str]) -> set[str]:
    return {name for name in files if name.endswith(CONFIG_SUFFIXES) and not name.endswith(".bin.index.json")}


def variant_of(name: str) -> str:
    """Return the variant of weights, such as fp16; empty for plain ones and for other names."""
    match = WEIGHTS.fullmatch(PurePosixPath(name).name)
    return (match["variant"] or match["old"] or "") if match else ""


def _index_variant(name: str) -> str | None:
    """Return the variant whose files an index lists; None for any other file."""
    match = WEIGHTS_INDEX.fullmatch(PurePosixPath(name).name)
    return (match["variant"] or match["late"] or "") if match else None
