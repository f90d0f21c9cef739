"""The baselines' images name what generated them, as ours do."""

import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import overlay
from benchmarks.conditions import Conditions, Device
from benchmarks.servers import generating


@pytest.mark.parametrize(
    ("device", "lines"), [("cuda", {"GPU: Some Card", "CUDA: 13.0"}), ("simulated", {"GPU: CPU", "CUDA: N/A"})]
)
def test_a_baseline_s_image_names_the_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: Device, lines: set[str]
) -> None:
    written: list[str] = []

    def panelled(image: Image.Image, lines: list[str]) -> Image.Image:
        written.extend(lines)
        return image

    for name, value in Conditions(device, tmp_path).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some Card")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(overlay, "draw_overlay", panelled)
    assert generating.finish(Image.new("RGB", (64, 64)), time.monotonic()).startswith(b"\x89PNG")
    assert lines <= set(written)
