"""How much has to be computed from a file is known before anything is, and too much is refused."""

import pytest
import torch

from imageserver.engine.lora_formats import computed_size, full_difference, hadamard, kronecker, layer_matrices
from imageserver.engine.lora_formats.model_layers import Layer, Place
from imageserver.engine.lora_formats.refused import LoraRefused

QKV = Place(tuple(Layer("transformer", name, inputs=8, outputs=12) for name in ("to_q", "to_k", "to_v")))
SWAPPED = Place((Layer("transformer", "norm_out.linear", inputs=8, outputs=36),), swapped=True)
CONV = Place((Layer("unet", "conv", inputs=8, outputs=12, kernel=(3, 3)),))


def ones(**shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {name.replace("__", "."): torch.ones(shape) for name, shape in shapes.items()}


# 9 rows of four outputs begin with each layer, 4 rows of nine do not; half of 36 is in the middle of a row of 4.
@pytest.mark.parametrize(
    ("place", "rows", "numbers"), [(QKV, 9, 0), (QKV, 4, 288), (QKV, 2, 288), (SWAPPED, 4, 0), (SWAPPED, 9, 288)]
)
def test_a_lokr_takes_the_size_of_the_layers_whose_part_is_no_product(place, rows, numbers):
    parts = ones(lokr__w1=(rows, 2), lokr__w2=(36 // rows, 4))
    assert kronecker.computed_numbers(parts, place) == numbers
    found = kronecker.factors_of("a", parts, None, place)
    changes = [each["lokr_w2"] for each in found.values() if each["lokr_w1"].shape == (1, 1)]
    assert sum(each.numel() for each in changes) == numbers


@pytest.mark.parametrize("ranks", [(2, 3), (4, 5)])
def test_a_loha_takes_the_size_of_its_lora(ranks):
    place = Place(QKV.layers[:1])
    parts = ones(
        hada__w1_a=(12, ranks[0]), hada__w1_b=(ranks[0], 8), hada__w2_a=(12, ranks[1]), hada__w2_b=(ranks[1], 8)
    )
    found = hadamard.as_low_rank("a", parts, None, place)
    assert hadamard.computed_numbers(parts, place) == found.down.numel() + found.up.numel()


def test_a_loha_with_cores_takes_the_size_of_its_layer():
    parts = ones(
        hada__w1_a=(2, 12), hada__w1_b=(2, 8), hada__w2_a=(2, 12), hada__w2_b=(2, 8), hada__t1=(2, 2, 3, 3),
        hada__t2=(2, 2, 3, 3),
    )  # fmt: skip
    found = hadamard.as_low_rank("a", parts, None, CONV)
    assert hadamard.computed_numbers(parts, CONV) == found.down.numel() + found.up.numel()


@pytest.mark.parametrize("rank", [3, 16])
def test_a_locon_with_a_kernel_of_its_own_takes_what_is_computed(rank):
    parts = ones(down=(2, 8, 1, 1), up=(12, rank, 1, 1), mid=(rank, 2, 3, 3))
    found = layer_matrices.low_rank("a", parts, None, CONV)
    computed = found.down.numel() + (0 if found.up is parts["up"] else found.up.numel())
    assert layer_matrices.computed_numbers(parts, CONV) == computed


@pytest.mark.parametrize("layer", [QKV.layers[0], CONV.layers[0]])
def test_a_whole_difference_takes_the_matrix_beside_it(layer):
    parts = ones(difference=(layer.outputs, layer.inputs, *layer.kernel))
    found = full_difference.as_low_rank("a", parts["difference"], None, layer)
    added = found.down.numel() + found.up.numel() - parts["difference"].numel()
    assert layer_matrices.computed_numbers(parts, Place((layer,))) == added > 0


def test_what_fits_nothing_has_no_size_and_is_refused_later():
    for parts in (
        {},
        ones(lokr__w1=()),
        ones(lokr__w1=(5, 2)),
        ones(hada__w1_b=()),
        ones(alpha=()),
        ones(difference=(4,)),
    ):
        assert computed_size.computed_bytes({"a": parts}, {"a": QKV}) == 0


def test_numbers_of_eight_bits_are_computed_in_sixteen():
    parts = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in ones(lokr__w1=(4, 2), lokr__w2=(9, 4)).items()}
    assert computed_size.computed_bytes({"a": parts}, {"a": QKV}) == 2 * 288


def test_too_much_of_all_layers_together_is_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(torch, "kron", lambda *_: pytest.fail("a product was computed"))
    parts = ones(lokr__w1=(4, 2), lokr__w2=(9, 4)) | {"alpha": torch.ones((), dtype=torch.float64)}
    layers, places = {"a": parts, "b": parts}, {"a": QKV, "b": QKV}
    monkeypatch.setattr(computed_size, "MAX_COMPUTED_BYTES", 2 * 4 * 288)
    assert computed_size.computed_bytes(layers, places) == 2 * 4 * 288
    monkeypatch.setattr(computed_size, "MAX_COMPUTED_BYTES", 2 * 4 * 288 - 1)
    with pytest.raises(LoraRefused, match=r"what has to be computed from it takes .* GB of memory, .*; convert the"):
        computed_size.computed_bytes(layers, places)
