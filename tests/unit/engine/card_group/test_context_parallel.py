"""A denoiser whose tokens are shared is afterwards as it was before, and only ranks share them that can."""

from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from diffusers.hooks import context_parallel as hooks
from diffusers.models import attention_dispatch

from imageserver.engine.card_group.context_parallel import can_divide, sharing_tokens
from tests.support.fake_denoiser import FakeDenoiser


def test_a_denoiser_that_cannot_be_split_keeps_its_gate(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> None:
        raise ValueError("no such module")

    monkeypatch.setattr(hooks, "apply_context_parallel", refuse)
    monkeypatch.setattr(diffusers.ParallelConfig, "setup", lambda *_, **__: None)
    ranks: Any = SimpleNamespace(rank=0, size=2, device=torch.device("cpu"), meshes={2: None})
    denoiser: Any = FakeDenoiser()
    denoiser._cp_plan = {}
    denoiser.forward = gate = lambda **_: None
    with pytest.raises(ValueError, match="no such module"), sharing_tokens(denoiser, ranks, 2):
        pass
    assert denoiser.forward is gate


@pytest.mark.parametrize("degree", [2, 3, 4, 6, 8])
def test_ranks_can_divide_the_heads_that_diffusers_can(degree: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention_dispatch.dist, "get_world_size", lambda **_: degree)
    group: Any = None
    for heads in range(1, 33):
        try:
            attention_dispatch._maybe_pad_qkv_head(torch.zeros(1, 1, heads, 1), heads, group)
        except AssertionError:
            assert not can_divide(heads, degree), heads
        else:
            assert can_divide(heads, degree), heads
