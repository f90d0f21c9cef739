"""One small LoRA, written in the names and formats of many trainers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

RANK = 4
Tensors = dict[str, torch.Tensor]


class LoraSource:
    """The matrices of a LoRA for some layers of a model: values with few bits, so that every format holds them."""

    def __init__(self, model: torch.nn.Module, layers: list[str], seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)

        def matrix(*shape: int) -> torch.Tensor:
            return torch.randint(-4, 5, shape, generator=generator).float() / 8

        found = {name: model.get_submodule(name) for name in layers}
        self.down = {name: matrix(RANK, each.in_features) for name, each in found.items()}
        self.up = {name: matrix(each.out_features, RANK) for name, each in found.items()}

    def changes(self, scale: float = 1.0) -> Tensors:
        """Return what the LoRA adds to the weight of every layer."""
        return {name: scale * (self.up[name] @ self.down[name]) for name in self.down}

    def tensors(
        self, prefix: str = "", names: tuple[str, str] = ("lora_A", "lora_B"), *, alpha: float | None = None,
        flat: bool = False, ending: str = ".weight", dtype: torch.dtype = torch.float32, alpha_shape: Any = (),
        spell: Callable[[str], str] = str,
    ) -> Tensors:  # fmt: skip
        """Return the tensors by the names of one trainer."""
        found: Tensors = {}
        for name in self.down:
            layer = prefix + (spell(name).replace(".", "_") if flat else spell(name))
            found[f"{layer}.{names[0]}{ending}"] = self.down[name].to(dtype)
            found[f"{layer}.{names[1]}{ending}"] = self.up[name].to(dtype)
            if alpha is not None:
                found[f"{layer}.alpha"] = torch.full(alpha_shape, alpha)
        return found


def changes_of(adapters: Mapping[str, Any], part: str) -> Tensors:
    """Return what a file that has been read adds to the weight of every layer of a part."""
    adapter = adapters[part]
    found = {}
    for key, down in adapter.tensors.items():
        if key.endswith(".lora_A.weight"):
            layer = key.removesuffix(".lora_A.weight")
            alpha = adapter.config["alpha_pattern"].get(f"^{_escaped(layer)}", adapter.config["lora_alpha"])
            up = adapter.tensors[f"{layer}.lora_B.weight"]
            found[layer] = alpha / len(down) * torch.tensordot(up.flatten(1).float(), down.float(), 1)
    return found


def _escaped(layer: str) -> str:
    return layer.replace(".", r"\.")
