"""The engine on a CUDA device: the same pictures, synchronised steps, and memory that is told and guarded."""

from pathlib import Path

import pytest
import torch

from imageserver.engine import devices
from imageserver.engine.sources import ModelUnavailable
from imageserver.engine.workshop import open_workshop
from imageserver.messages import Message
from imageserver.settings import Settings
from tests.factories import draw_in, generation
from tests.tiny_models import load, save_tiny_qwen_image

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device.")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on the disk."""
    return save_tiny_qwen_image(tmp_path_factory.mktemp("cuda"))


def silent(phase: str, sentence: str, fraction: float | None) -> None:
    pass


def draw(folder: Path, state: Path, **changes: object) -> bytes:
    sent: list[tuple[Message, bytes]] = []
    settings = Settings(model=str(folder), device="cuda", dtype="float32", state_dir=state, max_pixels=512 * 512)
    workshop = open_workshop(settings, silent, lambda *frame: sent.append(frame))
    return draw_in(workshop, sent, generation(deterministic=True, **changes))


def test_the_same_seed_gives_the_same_picture_twice(folder: Path, tmp_path: Path) -> None:
    assert draw(folder, tmp_path) == draw(folder, tmp_path)
    assert draw(folder, tmp_path, seed=2) != draw(folder, tmp_path)


def test_the_facts_name_the_card_and_its_format(folder: Path) -> None:
    facts = load(Settings(model=str(folder), device="cuda"), silent).facts
    assert facts.device == "cuda"
    assert facts.gpu == torch.cuda.get_device_name()
    assert facts.cuda_version != "N/A"
    assert facts.dtype == "bfloat16"
    assert facts.memory_mb > 0


@pytest.mark.parametrize("memory", ["model-offload", "group-offload", "sequential-offload"])
def test_offloaded_weights_draw_a_picture(folder: Path, tmp_path: Path, memory: str) -> None:
    sent: list[tuple[Message, bytes]] = []
    settings = Settings(model=str(folder), device="cuda", memory=memory, state_dir=tmp_path, max_pixels=512 * 512)
    workshop = open_workshop(settings, silent, lambda *frame: sent.append(frame))
    assert len(draw_in(workshop, sent, generation())) == 64 * 64 * 3


def test_a_card_that_cannot_hold_the_model_is_said_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda device: 1000 if device.type == "cuda" else 1 << 40)
    with pytest.raises(ModelUnavailable, match="take a quantized or smaller model"):
        load(Settings(model=str(folder), device="cuda", memory="full"), silent)
