"""Whether every weight file of a model is there and whole, by their headers and lists; no weight is read."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from imageserver.engine.downloads.file_choice import INDEX, WEIGHTS_INDEX, variant_of
from imageserver.safetensors_header import DamagedHeader, read_header


def faults(folder: Path, left_out: Collection[str] = ()) -> list[str]:
    """Return one clause for each file of a model or of a single component that is damaged or missing.

    Components that are `left_out` come from elsewhere.
    """
    components = [folder / name for name in sorted(_components_of(folder)) if name not in left_out]
    return [fault for component in (folder, *components) for fault in _faults_of(component, folder)]


def _components_of(folder: Path) -> list[str]:
    """Return the folders that a pipeline consists of; a single component has none."""
    if not (folder / INDEX).is_file():
        return []
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    return [name for name in index if (folder / name).is_dir()]


def _faults_of(component: Path, model: Path) -> Iterator[str]:
    """Yield what is wrong with one component."""
    files = sorted(component.glob("*.safetensors"))
    for file in files:
        if complaint := _complaint(file):
            yield f"{file.relative_to(model)} {complaint}"
    present = {file.name for file in files}
    variants = {variant_of(name) for name in present} or {""}
    for weights in sorted(component.glob("*.json")):
        kind = WEIGHTS_INDEX.fullmatch(weights.name)
        # A list of a variant that was not fetched says nothing.
        if kind and (kind["variant"] or kind["late"] or "") in variants and not _in_one_file(weights):
            missing = sorted(_listed(weights) - present)
            if missing:
                yield f"{component.relative_to(model)} lacks {' and '.join(missing)}"
    # Models have a config.json; what has no weights calls its configuration otherwise.
    if not files and component != model and (component / "config.json").is_file() and not any(component.glob("*.bin")):
        yield f"{component.relative_to(model)} has no weights"


def _complaint(file: Path) -> str | None:
    """Return what is wrong with a file, None where its size is that of its header."""
    try:
        size = file.stat().st_size
        expected = read_header(file).file_bytes
    except FileNotFoundError:  # a link into a cache that was emptied
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except DamagedHeader:
        return "has no readable header"
    return None if size == expected else f"has {size} of {expected} bytes"


def _listed(weights: Path) -> set[str]:
    """Return the files that a list of weights names."""
    try:
        return set(json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {f"a readable {weights.name}"}


def _in_one_file(weights: Path) -> bool:
    """Return whether the same weights are there in one file."""
    return weights.with_name(weights.name.removesuffix(".index.json")).is_file()
