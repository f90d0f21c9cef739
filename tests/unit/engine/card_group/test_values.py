"""The arguments of a call reach another process as they were."""

from typing import Any

import msgspec
import pytest
import torch

from imageserver.engine.card_group.described import Described
from imageserver.engine.card_group.values import NotTransferable, describe, rebuild


def sent(value: Any) -> Any:
    """Return a value as another process would rebuild it."""
    tensors: list[torch.Tensor] = []
    described = msgspec.msgpack.decode(msgspec.msgpack.encode(describe(value, tensors)), type=Described)
    waiting = iter(tensors)

    def receive(wanted: Any) -> torch.Tensor:
        tensor = next(waiting)
        assert (tuple(tensor.shape), str(tensor.dtype)) == (wanted.shape, f"torch.{wanted.dtype}")
        return tensor

    return rebuild(described, receive)


def test_a_call_of_qwen_image_arrives_as_it_was():
    call = {
        "hidden_states": torch.zeros(1, 4, 16), "timestep": torch.tensor([0.5]), "guidance": None,
        "encoder_hidden_states_mask": torch.ones(1, 3, dtype=torch.long), "img_shapes": [[(1, 2, 2)]],
        "attention_kwargs": {}, "return_dict": False, "scale": 0.5, "name": "cond", "dtype": torch.bfloat16,
    }  # fmt: skip
    arrived = sent(call)
    assert list(arrived) == list(call)
    assert arrived["img_shapes"] == [[(1, 2, 2)]]
    assert all(arrived[name] is call[name] for name in ("hidden_states", "timestep", "encoder_hidden_states_mask"))
    assert [arrived[name] for name in ("guidance", "return_dict", "scale", "name", "dtype", "attention_kwargs")] == [
        None, False, 0.5, "cond", torch.bfloat16, {},
    ]  # fmt: skip


def test_lists_stay_lists_and_tuples_tuples():
    arrived = sent(([torch.zeros(1)], (torch.zeros(2),)))
    assert [type(each) for each in (arrived, *arrived)] == [tuple, list, tuple]


def test_what_no_other_process_can_be_given_is_refused():
    with pytest.raises(NotTransferable, match="Generator"):
        sent({"generator": torch.Generator()})
