"""A LoRA file as it is on the disk: its tensors by layer and part, and what its metadata says about their strength.

safetensors maps a file into memory: only `checked` reads the numbers.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from imageserver.engine import file_kinds
from imageserver.engine.lora_formats.naming import TensorName, foreign_format, parse
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.safetensors_header import DamagedHeader, read_header

# Numbers of 8 bits are only for storage; bfloat16 contains both of these kinds.
STORAGE_TYPES = (torch.float8_e4m3fn, torch.float8_e5m2)
COMPUTED_TYPE = torch.bfloat16
# diffusers' own note of how peft was configured, without which every layer has the strength 1.
ADAPTER_METADATA = "lora_adapter_metadata"


@dataclass(frozen=True)
class TensorFile:
    """The matrices of every layer, by the layer's name in the file and the name of the part.

    `names` are their own names in the file, whose size is `size`.
    """

    layers: Mapping[str, Mapping[str, torch.Tensor]]
    names: Mapping[tuple[str, str], str]
    size: int
    peft: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """The memory that its tensors take once they are checked."""
        return sum(tensor.numel() * number_bytes(tensor) for parts in self.layers.values() for tensor in parts.values())

    def checked(self) -> "TensorFile":
        """Return it with numbers to compute with; raises LoraRefused for a tensor that has others."""
        layers = {
            layer: {
                part: tensor if part == "alpha" else _checked(self.names[layer, part], tensor)
                for part, tensor in parts.items()
            }
            for layer, parts in self.layers.items()
        }
        return replace(self, layers=layers)

    def alpha(self, part: str, layer: str, rank: int) -> float:
        """Return the alpha of a layer that has none of its own: its rank, unless peft's configuration is there.

        Raises LoraRefused for one that is not finite: JSON as Python reads it can contain NaN.
        """
        if f"{part}.lora_alpha" not in self.peft:
            return float(rank)
        alpha = self._of_layer(part, "alpha_pattern", layer, self.peft[f"{part}.lora_alpha"])
        if not math.isfinite(float(alpha)):
            raise LoraRefused(f"cannot be used: its metadata {ADAPTER_METADATA} gives the layer {layer} alpha {alpha}")
        return float(alpha) * (math.sqrt(rank) if self.peft.get(f"{part}.use_rslora") else 1.0)

    def _of_layer(self, part: str, pattern: str, layer: str, otherwise: Any) -> Any:
        patterns = self.peft.get(f"{part}.{pattern}") or {}
        return next((value for key, value in patterns.items() if layer == key or layer.endswith(f".{key}")), otherwise)


def read(path: Path) -> TensorFile:
    """Read what a file consists of; raises LoraRefused, with the first tensor of no format known here, or OSError."""
    if complaint := _complaint(path):
        raise LoraRefused(f"cannot be used: it {complaint}")
    size = path.stat().st_size
    layers: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    try:
        with safe_open(path, framework="pt") as content:
            names = _parsed(list(content.keys()))
            for name, parsed in names.items():
                if parsed.part in layers[parsed.layer]:
                    raise LoraRefused(f"cannot be used: its layer {parsed.layer} has two tensors for {parsed.part}")
                layers[parsed.layer][parsed.part] = content.get_tensor(name)
            metadata = content.metadata() or {}
    except SafetensorError as error:
        raise LoraRefused(f"cannot be used: it is damaged ({error})") from error
    if not layers:
        raise LoraRefused("cannot be used: it contains no tensors")
    own_names = {(parsed.layer, parsed.part): name for name, parsed in names.items()}
    return TensorFile(dict(layers), own_names, size, _peft_configuration(metadata))


def check_unchanged(path: Path, file: TensorFile) -> None:
    """Raise OSError where another file has been written over this one: of a shorter one, its numbers end the process.

    One of the same size is not noticed here, but by its digest, before the model takes it.
    """
    if path.stat().st_size != file.size:
        raise OSError("it is being replaced; send the request again")


def number_bytes(tensor: torch.Tensor) -> int:
    """Return the bytes of each number of a tensor when it is computed with."""
    return COMPUTED_TYPE.itemsize if tensor.dtype in STORAGE_TYPES else tensor.element_size()


def _complaint(path: Path) -> str | None:
    try:
        header = read_header(path)
    except DamagedHeader:
        return file_kinds.complaint(path)
    size = path.stat().st_size
    return None if size == header.file_bytes else f"has {size} of {header.file_bytes} bytes"


def _parsed(names: list[str]) -> Mapping[str, TensorName]:
    parsed = {name: parse(name) for name in names}
    unknown = sorted(name for name, each in parsed.items() if each is None)
    for name in unknown:
        if title := foreign_format(name):
            raise LoraRefused(
                f"cannot be used: {name} is in the format {title}, which this server does not compute with; convert it "
                "to LoRA"
            )
    if unknown and unknown[0].endswith((".weight", ".bias")):
        raise LoraRefused(
            f"is not a LoRA: {unknown[0]} is a weight of a whole model or one of its parts; serve that with MODEL or "
            "TRANSFORMER_FILE"
        )
    if unknown:
        raise LoraRefused(f"cannot be used: {unknown[0]} belongs to no LoRA format that this server knows")
    return {name: each for name, each in parsed.items() if each is not None}


def _checked(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.dtype.is_floating_point:
        raise LoraRefused(f"cannot be used: {name} consists of {str(tensor.dtype).removeprefix('torch.')} numbers")
    # A copy: where another file is written over this one, its mapped memory changes or, read, ends the process.
    tensor = tensor.to(COMPUTED_TYPE) if tensor.dtype in STORAGE_TYPES else tensor.clone()
    if not torch.isfinite(tensor).all():
        raise LoraRefused(f"cannot be used: {name} contains NaN or infinite numbers")
    return tensor


def _peft_configuration(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        configuration = json.loads(metadata.get(ADAPTER_METADATA, "{}"))
    except (ValueError, RecursionError) as error:
        raise LoraRefused(f"cannot be used: its metadata {ADAPTER_METADATA} is damaged") from error
    if not isinstance(configuration, dict):
        raise LoraRefused(f"cannot be used: its metadata {ADAPTER_METADATA} is damaged")
    return configuration
