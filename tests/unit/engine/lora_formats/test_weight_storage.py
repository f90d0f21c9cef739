"""What is refused because of how the model's weights are held says how they are, and what to do."""

import pytest
import torch
from diffusers.quantizers.gguf.utils import GGUFLinear

from imageserver.engine.card_group.sharding.sharded_linears import ColumnLinear, RowLinear
from imageserver.engine.lora_formats.layer_matrices import LoraMatrices
from imageserver.engine.lora_formats.model_layers import Layer
from imageserver.engine.lora_formats.part_adapter import low_rank_adapter
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.lora_formats.weight_storage import WeightStorage, storage_of


class Numbers(torch.Tensor):
    """A tensor of another class, as quantized weights are."""


def held_in(layer: torch.nn.Linear, *shape: int) -> torch.nn.Linear:
    layer.weight = torch.nn.Parameter(torch.ones(shape).as_subclass(Numbers))
    return layer


WHOLE = torch.nn.Linear(64, 32)


@pytest.mark.parametrize(
    ("layer", "storage"),
    [
        (WHOLE, WeightStorage.PLAIN),
        (held_in(torch.nn.Linear(64, 32), 32, 64), WeightStorage.QUANTIZED),
        (held_in(GGUFLinear(64, 32), 32, 68), WeightStorage.PACKED),
        (ColumnLinear(WHOLE, 0, 2), WeightStorage.DIVIDED),
        (RowLinear(WHOLE, 1, 2), WeightStorage.DIVIDED),
    ],
)
def test_a_layers_storage_is_known_by_its_class_and_shape(layer, storage):
    assert storage_of(layer) is storage


@pytest.mark.parametrize(
    ("storage", "advice"),
    [
        (WeightStorage.QUANTIZED, "are quantized; serve the model unquantized"),
        (WeightStorage.PACKED, "serve a TRANSFORMER_FILE that is not GGUF"),
        (WeightStorage.DIVIDED, r"divided among the cards \(MEMORY=tensor-parallel\); serve the model with another"),
    ],
)
def test_a_dora_beside_weights_that_are_not_plain_says_what_to_do(storage, advice):
    layer = Layer("transformer", "to_q", 8, 8, storage=storage)
    dora = LoraMatrices(torch.ones(2, 8), torch.ones(8, 2), 2.0, magnitude=torch.ones(8))
    with pytest.raises(LoraRefused, match=f"it is a DoRA, and the weights of the layer to_q .*{advice}"):
        low_rank_adapter({layer: dora})
