"""A kernel between two ranks takes the memory of the file or the layer, however large the ranks of a small file are."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from imageserver.engine.lora_formats import hadamard, kronecker, layer_matrices
from imageserver.engine.lora_formats.model_layers import Layer, Place
from imageserver.engine.lora_formats.tucker_product import tucker_product

OUTPUTS, INPUTS = 64, 4
PLACE = Place((Layer("unet", "conv_in", INPUTS, OUTPUTS, kernel=(3, 3)),))
LAYER_NUMBERS = OUTPUTS * INPUTS * 9
# The last is more than the rank of the layer, which a LoCon needs to become a matrix of the layer's size.
RANKS = pytest.mark.parametrize("ranks", [(1, 5000), (5000, 1), (2, 3), (16, 16), (37, 5000)])


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that is computed meanwhile."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).float()


def without_numbers(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


@RANKS
def test_the_order_of_the_products_changes_nothing(ranks):
    core, left, right = random(*ranks, 3, 3, seed=1), random(ranks[0], 6, seed=2), random(ranks[1], 5, seed=3)
    wanted = torch.einsum("ijhw,io,jn->onhw", core.double(), left.double(), right.double())
    assert torch.allclose(tucker_product(core, left, right).double(), wanted, rtol=1e-5, atol=1e-2)


@RANKS
def test_a_loha_of_a_small_file_computes_nothing_larger_than_the_file_or_the_layer(ranks):
    parts = {f"hada.t{each}": without_numbers(*ranks, 3, 3) for each in (1, 2)}
    for each in (1, 2):
        parts |= {
            f"hada.w{each}_a": without_numbers(ranks[0], OUTPUTS),
            f"hada.w{each}_b": without_numbers(ranks[1], 4),
        }
    with Largest() as largest:
        hadamard.as_low_rank("a", parts, None, PLACE)
    assert largest.numbers <= max(LAYER_NUMBERS, *(tensor.numel() for tensor in parts.values()))


@RANKS
def test_a_locon_of_a_small_file_computes_nothing_larger_than_the_file_or_the_layer(ranks):
    parts = {
        "mid": without_numbers(*ranks, 3, 3), "up": without_numbers(OUTPUTS, ranks[0], 1, 1),
        "down": without_numbers(ranks[1], INPUTS, 1, 1),
    }  # fmt: skip
    with Largest() as largest:
        layer_matrices.low_rank("a", parts, None, PLACE)
    assert largest.numbers <= max(LAYER_NUMBERS, *(tensor.numel() for tensor in parts.values()))


@RANKS
def test_a_lokr_leaves_peft_nothing_larger_than_the_file_or_the_layer(ranks):
    height, width = OUTPUTS // 2, INPUTS // 2
    parts = {
        "lokr.w1": random(2, 2, seed=1), "lokr.t2": random(*ranks, 3, 3, seed=2),
        "lokr.w2_a": random(ranks[0], height, seed=3), "lokr.w2_b": random(ranks[1], width, seed=4),
    }  # fmt: skip
    [factors] = kronecker.factors_of("a", parts, ranks[1] / 4, PLACE).values()
    # As peft does in every forward.
    with Largest() as largest:
        second = torch.einsum("ijkl,ip,jr->prkl", factors["lokr_t2"], factors["lokr_w2_a"], factors["lokr_w2_b"])
    assert largest.numbers <= max(LAYER_NUMBERS, *(tensor.numel() for tensor in parts.values()))
    wanted = torch.einsum("ijkl,ip,jr->prkl", *(parts[f"lokr.{each}"].double() for each in ("t2", "w2_a", "w2_b"))) / 4
    found = torch.kron(factors["lokr_w1"][:, :, None, None], second.contiguous()).double()
    assert torch.allclose(
        found, torch.kron(parts["lokr.w1"][:, :, None, None].double(), wanted.contiguous()), rtol=1e-5, atol=1e-2
    )
