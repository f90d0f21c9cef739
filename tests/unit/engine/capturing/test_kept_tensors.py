"""A graph keeps alive what it reads."""

import gc
import weakref

import torch

from imageserver.engine.capturing.kept_tensors import tensors_read


def test_what_a_cache_forgets_later_is_kept_and_what_is_made_on_the_way_is_not() -> None:
    weights = torch.nn.Parameter(torch.ones(3))
    positions = {"512": torch.arange(3.0)}
    made = []

    def compute() -> torch.Tensor:
        rotated = weights * positions["512"][None]
        made.append(weakref.ref(rotated))
        return (rotated + 1).sum()

    kept = tensors_read(compute)
    position = weakref.ref(positions["512"])
    positions.clear()
    gc.collect()
    assert position() is not None
    assert {id(tensor) for tensor in kept} == {id(weights), id(position())}
    assert made[0]() is None
