"""The engine on a CUDA device: the same images, synchronised steps, and memory that is told and guarded."""

from pathlib import Path

import pytest
import torch

from imageserver.engine.capturing import captured_forwards
from imageserver.engine.devices import devices
from imageserver.engine.downloads import ModelUnavailable
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.tiny_models import load, save_tiny_qwen_image
from tests.support.tiny_pool import TinyPool

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device.")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on the disk."""
    return save_tiny_qwen_image(tmp_path_factory.mktemp("cuda"))


def generate(folder: Path, state: Path, **changes: object) -> bytes:
    settings = Settings(model=str(folder), device="cuda", dtype="float32", state_dir=state, max_pixels=512 * 512)
    [pixels] = TinyPool(settings).generate(generation(deterministic=True, **changes))
    return pixels


def test_the_same_seed_gives_the_same_image_twice(folder: Path, tmp_path: Path) -> None:
    assert generate(folder, tmp_path) == generate(folder, tmp_path)
    assert generate(folder, tmp_path, seed=2) != generate(folder, tmp_path)


def test_the_info_names_the_card_and_its_format(folder: Path) -> None:
    info = load(Settings(model=str(folder), device="cuda")).info
    assert info.device.kind == "cuda"
    assert info.device.gpu == torch.cuda.get_device_name()
    assert info.device.cuda_version != "N/A"
    assert info.device.dtype == "bfloat16"
    assert info.device.memory_mb > 0


def test_a_card_that_cannot_hold_the_model_is_said_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda device: 1000 if device.type == "cuda" else 1 << 40)
    with pytest.raises(ModelUnavailable, match="choose a quantized or smaller model"):
        load(Settings(model=str(folder), device="cuda", memory="full"))


def test_captured_launches_give_the_same_bits(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else shares the card they are also faster; here it only counts that they are used."""
    monkeypatch.setattr(captured_forwards, "MIN_GAIN", 0.0)
    wanted = [generation(width=512, height=512, steps=8, seed=seed) for seed in (1, 2)]

    def images(**changes: bool) -> list[bytes]:
        settings = Settings(
            # Without captured launches, guidance would be a second row of each forward, which rounds differently.
            max_batch=1, model=str(folder), device="cuda", dtype="float32", state_dir=tmp_path,
            max_pixels=512 * 512, **changes,
        )  # fmt: skip
        opened = TinyPool(settings)
        found = [opened.generate(one)[0] for one in wanted]
        captured = opened.pool.served_model(str(folder)).captured
        assert (captured is not None and len(captured) > 0) == bool(changes)
        return found

    assert images(cuda_graphs=True) == images()
