"""What a LoRA adds to one layer, as peft computes it, whatever matrices the file has for that."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from imageserver.engine.lora_formats.model_layers import Layer, Place
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.lora_formats.tucker_product import narrowed, tucker_product


@dataclass(frozen=True)
class LoraMatrices:
    """`alpha / rank · up · down`, where a bias may be added and DoRA's magnitude replaces the length of each row."""

    down: torch.Tensor
    up: torch.Tensor
    alpha: float
    bias: torch.Tensor | None = None
    magnitude: torch.Tensor | None = None

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    def is_same_change(self, other: "LoraMatrices") -> bool:
        """Return whether both add the same to a weight and nothing else, but for the rounding of 16 bits."""
        if any(vector is not None for each in (self, other) for vector in (each.bias, each.magnitude)):
            return False
        own, others = self._change(), other._change()
        return bool((own - others).abs().max() <= 0.01 * own.abs().max())

    def _change(self) -> torch.Tensor:
        return self.alpha / self.rank * (self.up.flatten(1).float() @ self.down.flatten(1).float())

    def outputs(self, start: int, count: int) -> "LoraMatrices":
        """Return those for some of the outputs."""
        rows = slice(start, start + count)
        return replace(
            self,
            up=self.up[rows].contiguous(),
            bias=None if self.bias is None else self.bias[rows].contiguous(),
            magnitude=None if self.magnitude is None else self.magnitude[rows].contiguous(),
        )

    def swapped(self) -> "LoraMatrices":
        """Return those for a layer whose outputs are the second half, then the first."""

        def swap(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else torch.cat(tensor.chunk(2)[::-1])

        return replace(self, up=torch.cat(self.up.chunk(2)[::-1]), bias=swap(self.bias), magnitude=swap(self.magnitude))


def low_rank(name: str, parts: Mapping[str, torch.Tensor], alpha: float | None, place: Place) -> LoraMatrices:
    """Return the matrices of an ordinary LoRA, LoCon or DoRA; raises LoraRefused.

    Without an `alpha` the strength is 1.
    """
    for one, other in (("down", "up"), ("up", "down")):
        if one not in parts:
            raise LoraRefused(f"cannot be used: its layer {name} has a matrix {other} and no matrix {one}")
    down, up = parts["down"], parts["up"]
    rank = down.shape[0]
    if "mid" in parts:
        rank = parts["mid"].shape[0]
        down, up = _with_kernel(name, down, up, parts["mid"], place)
    if down.ndim not in (2, 4) or up.ndim not in (2, 4) or down.shape[0] != up.shape[1] or down.shape[0] == 0:
        shapes = f"{tuple(down.shape)} and {tuple(up.shape)}"
        raise LoraRefused(f"cannot be used: the matrices of its layer {name} do not fit each other: {shapes}")
    common = torch.promote_types(down.dtype, up.dtype)
    bias, magnitude = parts.get("bias"), parts.get("magnitude")
    found = LoraMatrices(
        down.to(common), up.to(common), float(down.shape[0]) if alpha is None else alpha * down.shape[0] / rank,
        magnitude=None if magnitude is None else _per_output(name, magnitude, up.shape[0]),
    )  # fmt: skip
    if "bias_difference" in parts:
        bias = _without_strength(name, parts["bias_difference"], found)
    return replace(found, bias=bias)


def computed_numbers(parts: Mapping[str, torch.Tensor], place: Place) -> int:
    """Return how many numbers are computed for a LoCon with its kernel in a third matrix, or for a whole difference.

    For all others it is 0.
    """
    if "difference" in parts:
        # The matrix beside it that does nothing.
        change = parts["difference"]
        return min(change.flatten(1).shape) ** 2 if change.ndim > 1 else 0
    if "mid" not in parts:
        return 0
    rank = parts["mid"].shape[:1].numel()
    least = min(place.inputs, place.outputs)
    return rank * place.inputs if rank <= least else place.outputs * place.inputs + least * least


def only_bias(layer: Layer, bias: torch.Tensor) -> LoraMatrices:
    """Return matrices that add nothing but a bias."""
    down = bias.new_zeros((1, layer.inputs, *layer.kernel))
    return LoraMatrices(down, bias.new_zeros((layer.outputs, 1, *(1 for _ in layer.kernel))), 1.0, bias=bias)


def of_full_rank(change: torch.Tensor, kernel: tuple[int, ...]) -> LoraMatrices:
    """Return the matrices of the smallest rank that every change of this shape has: its outputs or its inputs.

    `change` is (outputs, inputs); with a kernel, its numbers are among the inputs.
    """
    rank = min(change.shape)
    one = torch.eye(rank, dtype=change.dtype)
    down, up = (change, one) if rank == change.shape[0] else (one, change)
    if kernel:
        down, up = down.reshape(rank, -1, *kernel), up[:, :, None, None]
    return LoraMatrices(down, up, float(rank))


def fitted(name: str, matrices: LoraMatrices, layer: Layer) -> LoraMatrices:
    """Return the matrices in the shapes of the layer; raises LoraRefused where they belong to a larger or smaller one.

    A convolution of one pixel is a linear layer: files have either.
    """
    down, up = matrices.down, matrices.up
    if layer.kernel:
        down, up = (each if each.ndim == 4 else each[:, :, None, None] for each in (down, up))
    elif not layer.kernel and down.ndim == 4 and tuple(down.shape[2:]) == (1, 1):
        down, up = down.flatten(1), up.flatten(1)
    rank = matrices.rank
    wanted = (rank, layer.inputs, *layer.kernel), (layer.outputs, rank, *(1 for _ in layer.kernel))
    if (tuple(down.shape), tuple(up.shape)) != wanted:
        raise LoraRefused(
            f"does not fit the model: its layer {name} has {down.shape[1]} inputs and {up.shape[0]} outputs, the "
            f"model's has {layer.inputs} and {layer.outputs}"
        )
    for vector in (matrices.bias, matrices.magnitude):
        if vector is not None and vector.shape != (layer.outputs,):
            raise LoraRefused(
                f"does not fit the model: its layer {name} has a vector of {vector.numel()} values for {layer.outputs} "
                "outputs"
            )
    return replace(matrices, down=down.contiguous(), up=up.contiguous())


def _with_kernel(
    name: str, down: torch.Tensor, up: torch.Tensor, mid: torch.Tensor, place: Place
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the matrices of a LoCon that has its kernel in a third one (Tucker decomposition).

    They are computed only where they belong to the layer, at most in its size: else a small file could fill the RAM.
    """
    left, right, kernel = up.flatten(1), down.flatten(1), place.layers[0].kernel
    if mid.ndim != 4 or tuple(mid.shape[:2]) != (left.shape[1], right.shape[0]):
        raise LoraRefused(f"cannot be used: the matrix mid of its layer {name} does not fit the others")
    shape, wanted = (*left.shape[:1], right.shape[1], *mid.shape[2:]), (place.outputs, place.layers[0].inputs)
    if shape != (*wanted, *(kernel or (1, 1))):
        raise LoraRefused(
            f"does not fit the model: its layer {name} has {shape[1]} inputs, {shape[0]} outputs and a kernel of "
            f"{shape[2:]}, the model's has {wanted[1]}, {wanted[0]} and {kernel or (1, 1)}"
        )
    common = torch.promote_types(torch.promote_types(down.dtype, up.dtype), mid.dtype)
    if len(mid) <= min(place.inputs, place.outputs):
        return narrowed(mid, right).to(common), up
    whole = of_full_rank(tucker_product(mid, left.T, right).flatten(1).to(common), kernel)
    return whole.down, whole.up


def _without_strength(name: str, bias: torch.Tensor, matrices: LoraMatrices) -> torch.Tensor:
    """Return the bias that is `bias` in the model: peft multiplies it by alpha / rank, as it does the matrices."""
    found = (bias.double() * matrices.rank / matrices.alpha).to(bias.dtype)
    if not torch.isfinite(found).all():
        raise LoraRefused(f"cannot be used: its layer {name} has a diff_b, and the alpha {matrices.alpha} beside it")
    return found


def _per_output(name: str, magnitude: torch.Tensor, outputs: int) -> torch.Tensor:
    """Return DoRA's magnitudes as a vector; LyCORIS can have them per input, which peft does not compute."""
    if magnitude.numel() != outputs or magnitude.shape[0] != outputs:
        raise LoraRefused(
            f"cannot be used: the layer {name} has DoRA magnitudes {tuple(magnitude.shape)}, this server computes with "
            f"one for each of its {outputs} outputs; convert the file to LoRA"
        )
    return magnitude.flatten()
