"""Every kind of device answers the same questions; a kind that nobody here has is played by a fake module."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from imageserver.engine.devices import devices, number_formats
from imageserver.engine.devices.memory import peak_memory
from imageserver.engine.families import FAMILIES
from imageserver.ram import Ram
from tests.support.paths import ROOT

GIB = 1024**3
CPU = torch.device("cpu")


class FakeNpu(ModuleType):
    """What torch_npu puts at `torch.npu`: the functions of `torch.cuda` under another name."""

    def __init__(self) -> None:
        super().__init__("torch.npu")
        self.peak = 7 * GIB
        self.calls: list[str] = []

    def is_available(self) -> bool:
        return True

    def get_device_name(self, device: torch.device) -> str:
        return f"Ascend{device.index}"

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return 20 * GIB, 64 * GIB

    def memory_allocated(self, device: torch.device) -> int:
        return 3 * GIB

    def memory_reserved(self, device: torch.device) -> int:
        return 5 * GIB

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.peak

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.peak = 3 * GIB

    def synchronize(self, device: torch.device) -> None:
        self.calls.append("synchronize")

    def empty_cache(self) -> None:
        self.calls.append("empty_cache")


@dataclass
class NpuDevice:
    """Poses as `torch.device("npu", 0)`, which this process cannot have without torch_npu."""

    type: str = "npu"
    index: int = 0


@pytest.fixture
def npu(monkeypatch: pytest.MonkeyPatch) -> FakeNpu:
    fake = FakeNpu()
    monkeypatch.setattr(torch, "npu", fake, raising=False)
    return fake


def test_an_npu_is_asked_like_any_other_accelerator(npu: FakeNpu) -> None:
    device: Any = NpuDevice()
    assert devices.is_accelerator(device)
    assert devices.gpu_name(device) == "Ascend0"
    # Of the 5 GiB that PyTorch has reserved, 2 wait in its cache for the next tensor.
    assert devices.free_memory(device) == 22 * GIB
    assert devices.used_memory(device) == 5 * GIB
    assert number_formats.choose(device, float16=False) == (torch.bfloat16, "")
    assert devices.cuda_version(device) == "N/A"
    devices.synchronize(device)
    devices.release_cached(device)
    assert npu.calls == ["synchronize", "empty_cache"]


def test_waiting_for_a_cuda_device_sleeps_until_this_threads_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Event:
        def __init__(self, *, blocking: bool) -> None:
            calls.append(("blocking", blocking))

        def record(self, stream: str) -> None:
            calls.append(("record", stream))

        def synchronize(self) -> None:
            calls.append("synchronize")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append("spins"))
    devices.synchronize(torch.device("cuda", 1))
    assert calls == [("blocking", True), ("record", "the stream of cuda:1"), "synchronize"]


def test_the_peak_of_an_accelerator_is_its_own_and_begins_again(npu: FakeNpu) -> None:
    device: Any = NpuDevice()
    meter = peak_memory(device)
    assert (meter(), meter()) == (7 * GIB, 3 * GIB)


# What torch_npu does when it is imported; it cannot be undone, so it happens in a process of its own.
TORCH_NPU = """
import types, torch
torch.utils.rename_privateuse1_backend("npu")
torch.npu = types.ModuleType("torch.npu")
torch.npu.is_available = lambda: True
"""


def test_auto_finds_an_npu_by_importing_its_package(tmp_path: Path) -> None:
    (tmp_path / "torch_npu.py").write_text(TORCH_NPU)
    code = "from imageserver.engine.devices import devices; print(devices.choose('auto'))"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "npu:0"


def test_an_npu_without_its_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_npu", None)
    with pytest.raises(devices.DeviceUnavailable, match=r"^DEVICE=npu cannot be used: .*torch_npu"):
        devices.choose("npu")


@pytest.mark.parametrize("name", ["cuda:99", "xpu:99", "nonsense", "cuda:"])
def test_a_device_that_is_not_there_is_one_sentence(name: str) -> None:
    with pytest.raises(devices.DeviceUnavailable, match=rf"^DEVICE={name} cannot be used: [^\n]+$"):
        devices.choose(name)


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
@pytest.mark.parametrize(("number", "card"), [("", 2), (":0", 0), (":1", 1)])
def test_a_device_with_or_without_a_number_can_be_made_current(
    monkeypatch: pytest.MonkeyPatch, kind: str, number: str, card: int
) -> None:
    current = [2]
    module = getattr(torch, kind)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: None)
    monkeypatch.setattr(module, "_lazy_init", lambda: None)
    # Only the driver's part is replaced; a build for CPUs lacks it.
    monkeypatch.setattr(torch._C, f"_{kind}_getDevice", lambda: current[-1], raising=False)
    monkeypatch.setattr(torch._C, f"_{kind}_setDevice", current.append, raising=False)
    device = devices.choose(kind + number)
    devices.make_current(device)
    assert (device, current) == (torch.device(kind, card), [2, card])


def test_a_cpu_has_the_machines_memory_and_nothing_to_wait_for() -> None:
    assert not devices.is_accelerator(CPU)
    assert devices.gpu_name(CPU) == "CPU"
    assert number_formats.choose(CPU, float16=True) == (torch.float32, "")
    assert devices.free_memory(CPU) > 0
    assert devices.used_memory(CPU) > 0
    devices.synchronize(CPU)
    devices.release_cached(CPU)


def test_apples_devices_have_no_more_than_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 3 * GIB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: GIB)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: GIB // 2)
    monkeypatch.setattr(devices.ram, "measure", lambda: Ram(16 * GIB, 32 * GIB))
    device = torch.device("mps")
    assert devices.free_memory(device) == 2.5 * GIB
    assert devices.used_memory(device) == GIB


@pytest.mark.parametrize(
    ("native", "float16", "dtype", "words"),
    [
        (True, False, torch.bfloat16, ""),
        (False, True, torch.float16, "Card only emulates bfloat16, slowly, so the weights are float16."),
        (
            False,
            False,
            torch.float32,
            "not known to generate in float16, so the weights are float32; DTYPE changes it.",
        ),
    ],
)
def test_a_card_that_emulates_bfloat16_takes_what_the_model_can_have_instead(
    monkeypatch: pytest.MonkeyPatch, native: bool, float16: bool, dtype: torch.dtype, words: str
) -> None:
    asked: list[bool] = []

    def is_bf16_supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return including_emulation or native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card")
    chosen, sentence = number_formats.choose(torch.device("cuda", 1), float16=float16)
    assert (chosen, asked) == (dtype, [False])
    assert words in sentence


def test_only_the_families_with_a_unet_generate_in_float16() -> None:
    assert {family.name for family in FAMILIES if family.float16} == {"stable-diffusion", "stable-diffusion-xl"}
