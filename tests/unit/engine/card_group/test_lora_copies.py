"""The other ranks have the LoRAs of rank 0 before they compute with them."""

from types import SimpleNamespace
from typing import Any

import peft.utils
import pytest
import torch

from imageserver.engine.card_group.lora_copies import LoraCopies
from imageserver.engine.card_group.messages import AddLora, UseLoras


class Rank:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any, raw: bytes = b"") -> None:
        self.sent.append(message)


def test_one_that_could_not_be_read_is_sent_before_the_next_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    rank: Any = Rank()
    denoiser = SimpleNamespace(peft_config={"red": SimpleNamespace(to_dict=dict)})
    adapters: Any = SimpleNamespace(attached=("red",), in_use=(("red", 0.5),))
    copies = LoraCopies("tiny", denoiser, adapters)

    def full(*arguments: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(peft.utils, "get_peft_model_state_dict", full)
    with pytest.raises(torch.OutOfMemoryError):
        copies.send([rank])
    monkeypatch.setattr(peft.utils, "get_peft_model_state_dict", lambda *_, **__: {"weight": torch.ones(1)})
    for _ in range(2):
        copies.send([rank])
    assert [type(message) for message in rank.sent] == [AddLora, UseLoras]
    assert rank.sent[1] == UseLoras(model="tiny", adapters=("red",), scales=(0.5,))
