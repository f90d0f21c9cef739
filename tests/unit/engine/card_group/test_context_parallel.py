"""A denoiser whose tokens are shared is afterwards as it was before."""

from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from diffusers.hooks import context_parallel as hooks

from imageserver.engine.card_group.context_parallel import sharing_tokens
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
