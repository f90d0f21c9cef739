"""The cap of a size is the batch from which a larger one no longer generates more per second."""

from pathlib import Path
from typing import Any

import pytest

from imageserver.engine.devices import batch_limits
from imageserver.engine.devices.batch_limits import BatchLimits, load_or_measure, measure


class FakeDevice:
    """A forward whose seconds depend on the batch alone, and the clock they pass on; a call is `{"batch": n}`."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = dict(zip(batch_limits.PROBED_BATCHES, seconds, strict=False))
        self.forwards = 0
        self.now = 0.0

    def forward(self, batch: int) -> None:
        self.forwards += 1
        self.now += self.seconds[batch]

    def merge(self, calls: list[dict[str, int]]) -> dict[str, int]:
        return {"batch": len(calls)}


def probe(side: int) -> dict[str, int]:
    return {"batch": 1}


def caps_of(device: FakeDevice, max_pixels: int) -> dict[int, int]:
    merger: Any = device
    return measure(device.forward, merger, probe, max_pixels, lambda: device.now)


def test_the_cap_is_where_throughput_stops_growing() -> None:
    device = FakeDevice(0.010, 0.011, 0.014, 0.040, 0.080)
    assert caps_of(device, 512 * 512) == {512 * 512: 4}


def test_a_device_that_gains_nothing_generates_one_at_a_time_and_larger_sizes_are_not_tried() -> None:
    device = FakeDevice(0.010, 0.020)
    assert caps_of(device, 2048 * 2048) == {512 * 512: 1}


def test_sizes_between_take_the_cap_of_the_next_larger_one_and_the_largest_generate_alone() -> None:
    caps = BatchLimits({512 * 512: 8, 1024 * 1024: 2}, limit=0)
    assert [caps.cap_of(side * side) for side in (256, 512, 600, 1024, 1328)] == [8, 8, 2, 2, 1]


def test_the_setting_bounds_what_was_measured() -> None:
    assert BatchLimits({512 * 512: 8}, limit=3).cap_of(512 * 512) == 3


def load_or_measure_on(device: FakeDevice, file: Path, model: str, free: int = 10) -> dict[int, int]:
    merger: Any = device
    return load_or_measure(file, model, device.forward, merger, probe, 512 * 512, free, lambda: device.now)


def test_a_second_start_of_the_same_model_only_looks_whether_a_forward_takes_as_long(tmp_path: Path) -> None:
    device, file = FakeDevice(0.002, 0.004), tmp_path / "state" / "caps.json"
    first = load_or_measure_on(device, file, "model a")
    device.forwards = 0
    assert load_or_measure_on(device, file, "model a") == first
    assert device.forwards == batch_limits.REPEATS
    load_or_measure_on(device, file, "model b")
    assert device.forwards > 2 * batch_limits.REPEATS


def test_what_was_measured_beside_a_busy_neighbour_is_measured_again_without_it(tmp_path: Path) -> None:
    file = tmp_path / "caps.json"
    assert load_or_measure_on(FakeDevice(0.020, 0.060), file, "model") == {512 * 512: 1}
    alone = FakeDevice(0.005, 0.006, 0.020)
    assert load_or_measure_on(alone, file, "model") == {512 * 512: 2}
    # A neighbour that comes later says nothing about the device.
    assert load_or_measure_on(FakeDevice(0.020, 0.060), file, "model") == {512 * 512: 2}


@pytest.mark.parametrize(("free", "measured_again"), [(6, False), (4, True), (19, False), (21, True)])
def test_caps_hold_only_for_about_the_memory_they_were_measured_with(
    tmp_path: Path, free: int, measured_again: bool
) -> None:
    file = tmp_path / "caps.json"
    load_or_measure_on(FakeDevice(0.002, 0.004), file, "model", free=10)
    caps = load_or_measure_on(FakeDevice(0.002, 0.002, 0.008), file, "model", free=free)
    assert caps == {512 * 512: 2 if measured_again else 1}


@pytest.mark.parametrize("content", ["[]", '{"model": {"262144": 8}}', '{"model": {"caps": 3}}'])
def test_a_broken_or_older_file_is_measured_again(tmp_path: Path, content: str) -> None:
    file = tmp_path / "caps.json"
    file.write_text(content)
    assert load_or_measure_on(FakeDevice(0.002, 0.004), file, "model") == {512 * 512: 1}
