"""What a file's matrices become for one layer has their effect, and fits into the layer's own size."""

import pytest
import torch

from imageserver.engine.lora_formats import full_difference, hadamard
from imageserver.engine.lora_formats.layer_matrices import LoraMatrices, fitted, low_rank
from imageserver.engine.lora_formats.model_layers import Layer, Place
from imageserver.engine.lora_formats.refused import LoraRefused

CONVOLUTION = Layer("unet", "conv", inputs=3, outputs=6, kernel=(3, 3))
NARROW = Layer("unet", "conv_out", inputs=12, outputs=4, kernel=(3, 3))
LAYERS = [CONVOLUTION, NARROW]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).float()


def change(layer: Layer, matrices: LoraMatrices) -> torch.Tensor:
    own = fitted("a", matrices, layer)
    return own.alpha / own.rank * torch.tensordot(own.up.flatten(1), own.down, 1)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("rank", [2, 32])
def test_a_locon_with_a_kernel_of_its_own_has_its_effect_at_any_rank(rank, layer):
    parts = {
        "down": random(rank, layer.inputs, 1, 1), "up": random(layer.outputs, rank, 1, 1, seed=1),
        "mid": random(rank, rank, 3, 3, seed=2), "bias_difference": random(layer.outputs),
    }  # fmt: skip
    found = low_rank("a", parts, rank / 4, Place((layer,)))
    wanted = torch.einsum("om,mrhw,ri->oihw", parts["up"].flatten(1), parts["mid"], parts["down"].flatten(1)) / 4
    assert torch.allclose(change(layer, found), wanted, rtol=1e-5, atol=1e-3)
    assert found.rank == min(rank, layer.outputs)
    assert found.bias is not None
    assert torch.allclose(found.bias * found.alpha / found.rank, parts["bias_difference"])


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("rank", [1, 8])
def test_a_loha_of_a_convolution_has_its_effect_at_any_rank(rank, layer):
    inputs = layer.inputs * 9
    parts = {
        "hada.w1_a": random(layer.outputs, rank), "hada.w1_b": random(rank, inputs, seed=1),
        "hada.w2_a": random(layer.outputs, rank, seed=2), "hada.w2_b": random(rank, inputs, seed=3),
    }  # fmt: skip
    found = hadamard.as_low_rank("a", parts, rank / 2, Place((layer,)))
    product = (parts["hada.w1_a"] @ parts["hada.w1_b"]) * (parts["hada.w2_a"] @ parts["hada.w2_b"]) / 2
    assert (change(layer, found) == product.reshape(layer.outputs, layer.inputs, 3, 3)).all()
    assert found.rank == min(rank * rank, layer.outputs)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_loha_with_kernels_of_its_own_has_its_effect(layer):
    ranks = (2, 3)
    parts, factors = {}, []
    for number, rank in enumerate(ranks, start=1):
        left, right, core = (
            random(rank, layer.outputs, seed=number),
            random(rank, layer.inputs),
            random(rank, rank, 3, 3),
        )
        parts |= {f"hada.w{number}_a": left, f"hada.w{number}_b": right, f"hada.t{number}": core}
        factors.append(sum(
            core[i, j] * left[i][:, None, None, None] * right[j][None, :, None, None]
            for i in range(rank) for j in range(rank)
        ))  # fmt: skip
    found = hadamard.as_low_rank("a", parts, 1.0, Place((layer,)))
    assert torch.allclose(change(layer, found), factors[0] * factors[1] / ranks[0])


def test_a_loha_with_half_its_kernels_or_those_of_another_layer_is_refused():
    parts = {f"hada.w{each}_{side}": random(2, 6 if side == "a" else 3) for each in (1, 2) for side in "ab"}
    for cores, sentence in (
        ({"hada.t1": random(2, 2, 3, 3)}, "do not fit each other"),
        ({"hada.t1": random(2, 2, 5, 5), "hada.t2": random(2, 2, 5, 5)}, "has 3 inputs, 6 outputs and a kernel of"),
    ):
        with pytest.raises(LoraRefused, match=sentence):
            hadamard.as_low_rank("a", parts | cores, None, Place((CONVOLUTION,)))


def test_a_loha_of_several_layers_in_one_is_cut_among_them():
    layers = tuple(Layer("transformer", name, inputs=8, outputs=8) for name in ("to_q", "to_k"))
    parts = {
        "hada.w1_a": random(16, 4), "hada.w1_b": random(4, 8, seed=1),
        "hada.w2_a": random(16, 4, seed=2), "hada.w2_b": random(4, 8, seed=3),
    }  # fmt: skip
    found = hadamard.as_low_rank("a", parts, None, Place(layers))
    product = (parts["hada.w1_a"] @ parts["hada.w1_b"]) * (parts["hada.w2_a"] @ parts["hada.w2_b"])
    halves = [change(layer, found.outputs(8 * index, 8)) for index, layer in enumerate(layers)]
    assert (torch.cat(halves) == product).all()


FOREIGN = {
    "inputs": ((2, 4096, 1, 1), (2, 2, 3, 3)),
    "a kernel": ((2, 3, 1, 1), (2, 2, 512, 512)),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_locon_of_another_layer_is_refused_before_anything_is_computed(what, monkeypatch):
    monkeypatch.setattr(torch, "einsum", lambda *_: pytest.fail("its matrices were multiplied"))
    down, mid = FOREIGN[what]
    parts = {"down": torch.zeros(down), "up": torch.zeros(6, 2, 1, 1), "mid": torch.zeros(mid)}
    with pytest.raises(LoraRefused, match="does not fit the model: its layer a has"):
        low_rank("a", parts, None, Place((CONVOLUTION,)))


@pytest.mark.parametrize("layer", [Layer("t", "wide", 4, 64), Layer("t", "tall", 64, 4), *LAYERS])
def test_a_whole_difference_takes_the_smaller_of_a_layers_sides_beside_itself(layer):
    given = random(layer.outputs, layer.inputs, *layer.kernel)
    found = full_difference.as_low_rank("a", given, None, layer)
    assert (change(layer, found) == given).all()
    assert found.rank == min(layer.outputs, given[0].numel())
