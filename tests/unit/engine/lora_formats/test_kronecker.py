"""A LoKr of a layer that a model's authors joined from several is exactly its part of each."""

import pytest
import torch

from imageserver.engine.lora_formats.kronecker import factors_of
from imageserver.engine.lora_formats.model_layers import Layer, Place
from imageserver.engine.lora_formats.refused import LoraRefused

QKV = tuple(Layer("transformer", name, inputs=8, outputs=12) for name in ("to_q", "to_k", "to_v"))
UNEQUAL = (*QKV, Layer("transformer", "proj_mlp", inputs=8, outputs=24))
SWAPPED = Layer("transformer", "norm_out.linear", inputs=8, outputs=24)


def whole(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).float()


def parts_of(rows: int, columns: int, outputs: int, rank: int = 0) -> dict[str, torch.Tensor]:
    """Return the factors of a change with 8 inputs, the second of some rank where one is given."""
    parts = {"lokr.w1": whole(rows, columns)}
    height, width = outputs // rows, 8 // columns
    if not rank:
        return parts | {"lokr.w2": whole(height, width, seed=1)}
    return parts | {"lokr.w2_a": whole(height, rank, seed=1), "lokr.w2_b": whole(rank, width, seed=2)}


def product(factors: dict[str, torch.Tensor], prefix: str) -> torch.Tensor:
    def factor(which: str) -> torch.Tensor:
        whole = factors.get(prefix + which)
        return factors[f"{prefix}{which}_a"] @ factors[f"{prefix}{which}_b"] if whole is None else whole

    return torch.kron(factor("w1"), factor("w2"))


# How many rows the first factor has: 12 can be divided among three layers, 4 and 9 cannot.
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("rows", [12, 4, 9, 1])
def test_each_of_three_layers_gets_its_part_of_the_product(rows, rank):
    parts = parts_of(rows, 2, 36, rank)
    found = factors_of("a", parts, None, Place(QKV))
    change = product(parts, "lokr.")
    for number, layer in enumerate(QKV):
        assert torch.equal(product(found[layer], "lokr_"), change[12 * number : 12 * number + 12])


def test_what_can_be_divided_stays_a_small_product():
    found = factors_of("a", parts_of(12, 2, 36), None, Place(QKV))
    assert [found[layer]["lokr_w1"].shape for layer in QKV] == [(4, 2)] * 3
    assert all(torch.equal(found[layer]["lokr_w2"], found[QKV[0]]["lokr_w2"]) for layer in QKV)


@pytest.mark.parametrize("rows", [5, 10, 60])
def test_layers_of_unequal_sizes_get_their_parts(rows):
    parts = parts_of(rows, 4, 60)
    found = factors_of("a", parts, None, Place(UNEQUAL))
    assert torch.equal(torch.cat([product(found[layer], "lokr_") for layer in UNEQUAL]), product(parts, "lokr."))


@pytest.mark.parametrize("rows", [2, 3, 12])
def test_halves_that_diffusers_has_in_the_other_order_are_swapped(rows):
    parts = parts_of(rows, 2, 24)
    found = factors_of("a", parts, None, Place((SWAPPED,), swapped=True))
    assert torch.equal(product(found[SWAPPED], "lokr_"), torch.cat(product(parts, "lokr.").chunk(2)[::-1]))


def test_the_strength_is_multiplied_in_once():
    parts = parts_of(4, 2, 36, rank=2)
    found = factors_of("a", parts, 6.0, Place(QKV))
    change = 3 * product(parts, "lokr.")
    assert torch.equal(torch.cat([product(found[layer], "lokr_") for layer in QKV]), change)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (parts_of(4, 2, 24), "has 8 inputs and 24 outputs, the model's has 8 and 36"),
        ({"lokr.w1": whole(4, 2)}, "lacks a part of the factor w2"),
        ({"lokr.w1": whole(4, 2), "lokr.w2_a": whole(9, 0), "lokr.w2_b": whole(0, 4)}, "lacks a part of the factor w2"),
        (parts_of(4, 2, 36, 2) | {"lokr.t2": whole(2, 2, 1, 1)}, "factor t2 of its layer a does not fit"),
        (parts_of(4, 2, 36) | {"magnitude": whole(36)}, "has a magnitude beside it, .*; convert the file to LoRA"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_name_of_its_layer(parts, sentence):
    with pytest.raises(LoraRefused, match=sentence):
        factors_of("a", parts, None, Place(QKV))
