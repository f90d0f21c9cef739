"""The meter of the device's memory sees what was held between two looks, and forgets it then."""

import sys
from types import SimpleNamespace

import pytest
import torch

from imageserver.engine.devices.devices import MIB
from imageserver.engine.devices.memory import held_memory, live_tensors, peak_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no high-water mark that can be reset")
def test_what_was_held_for_a_moment_is_seen_once() -> None:
    meter = peak_memory(CPU)
    meter()
    before = meter()
    block = torch.ones(200 * MIB // 4)
    del block
    during, after = meter(), meter()
    assert during - before > 150 * MIB
    assert during - after > 150 * MIB


def test_a_device_without_a_mark_tells_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageserver.engine.devices.memory.devices.used_memory", lambda device: 77)
    assert peak_memory(torch.device("meta"))() == 77


class Card:
    """Counts as PyTorch's allocator does: what was freed stays reserved."""

    def __init__(self) -> None:
        self.allocated = self.most = self.reserved = 0

    def hold(self, size: int) -> None:
        self.allocated += size
        self.most = max(self.most, self.allocated)
        self.reserved = max(self.reserved, self.allocated)

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.most

    def max_memory_reserved(self, device: torch.device) -> int:
        return self.reserved

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.most = self.allocated


def test_after_a_large_image_a_small_one_is_small_again_on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card()
    monkeypatch.setattr("imageserver.engine.devices.memory.devices.module_of", lambda device: card)
    meter = peak_memory(torch.device("cuda"))
    weights, large, small = 100, 50, 5
    card.hold(weights)
    peaks = []
    for image in (large, small):
        meter()
        card.hold(image)
        card.hold(-image)
        peaks.append(meter())
    assert peaks == [weights + large, weights + small]


@pytest.mark.parametrize(
    ("module", "held"),
    [
        (SimpleNamespace(memory_allocated=lambda device: 5), (5, 9)),  # CUDA
        (SimpleNamespace(current_allocated_memory=lambda: 4), (4, 9)),  # MPS
        (SimpleNamespace(), (9, 9)),
    ],
)
def test_tensors_and_what_is_kept_for_them_are_told_apart_where_the_device_can(
    monkeypatch: pytest.MonkeyPatch, module: object, held: tuple[int, int]
) -> None:
    monkeypatch.setattr("imageserver.engine.devices.memory.devices.module_of", lambda device: module)
    monkeypatch.setattr("imageserver.engine.devices.memory.devices.used_memory", lambda device: 9)
    assert held_memory(torch.device("cuda")) == held


def test_on_a_cpu_what_is_held_is_the_process() -> None:
    before, _ = held_memory(CPU)
    block = torch.ones(200 * MIB // 4)
    allocated, reserved = held_memory(CPU)
    assert allocated == reserved
    assert allocated - before > 150 * MIB
    del block


def test_tensors_are_counted_as_long_as_they_live_and_views_once() -> None:
    before = live_tensors()
    block = torch.ones(1000)
    half = block[:500]
    new = live_tensors().items() - before.items()
    assert [size for address, size in new if address == block.untyped_storage().data_ptr()] == [4000]
    address = half.untyped_storage().data_ptr()
    del block, half
    assert live_tensors().get(address) != 4000
