"""The cap of a size is the batch from which a larger one no longer generates more per second."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from imageserver.engine.devices import batch_limits
from imageserver.engine.devices.batch_limits import BatchLimits, SizeLimit, load_or_measure, measure

# The text of a merged call whose texts differ in length.
MASKED = -1


class FakeDevice:
    """A forward whose seconds depend on the batch and on a mask, and the clock they pass on.

    A call is `{"batch": n, "text": length}`; `masked` are the seconds of two whose texts differ in length, None where
    memory runs out.
    """

    def __init__(self, *seconds: float, masked: float | None = 0.001) -> None:
        self.seconds = dict(zip(batch_limits.PROBED_BATCHES, seconds, strict=False))
        self.masked = masked
        self.forwards = 0
        self.now = 0.0

    def forward(self, batch: int, text: int) -> None:
        self.forwards += 1
        if text == MASKED and self.masked is None:
            raise torch.OutOfMemoryError("out of memory")
        self.now += (self.masked or 0.0) if text == MASKED else self.seconds[batch]

    def shape_of(self, call: dict[str, int]) -> Hashable:
        return ()

    def text_length(self, call: dict[str, int]) -> int:
        return call["text"]

    def merge(self, calls: Sequence[dict[str, int]]) -> dict[str, int]:
        texts = {call["text"] for call in calls}
        return {"batch": len(calls), "text": texts.pop() if len(texts) == 1 else MASKED}


def probe(side: int) -> tuple[dict[str, int], dict[str, int]]:
    return {"batch": 1, "text": 5}, {"batch": 1, "text": 9}


def limits_of(device: FakeDevice, max_pixels: int) -> dict[int, SizeLimit]:
    merger: Any = device
    return measure(device.forward, merger, probe, max_pixels, lambda: device.now)


def caps_of(device: FakeDevice, max_pixels: int) -> dict[int, int]:
    return {size: limit.cap for size, limit in limits_of(device, max_pixels).items()}


def test_the_cap_is_where_throughput_stops_growing() -> None:
    device = FakeDevice(0.010, 0.011, 0.014, 0.040, 0.080)
    assert caps_of(device, 512 * 512) == {512 * 512: 4}


def test_a_device_that_gains_nothing_generates_one_at_a_time_and_larger_sizes_are_not_tried() -> None:
    device = FakeDevice(0.010, 0.020)
    assert caps_of(device, 2048 * 2048) == {512 * 512: 1}


def test_sizes_between_take_the_cap_of_the_next_larger_one_and_the_largest_generate_alone() -> None:
    caps = BatchLimits({512 * 512: SizeLimit(8), 1024 * 1024: SizeLimit(2)}, limit=0)
    assert [caps.cap_of(side * side) for side in (256, 512, 600, 1024, 1328)] == [8, 8, 2, 2, 1]


def test_the_setting_bounds_what_was_measured() -> None:
    assert BatchLimits({512 * 512: SizeLimit(8)}, limit=3).cap_of(512 * 512) == 3


@pytest.mark.parametrize(("masked", "mixes"), [(0.015, True), (0.0195, False), (0.025, False), (None, False)])
def test_texts_of_different_lengths_share_a_forward_where_two_gain_by_it_with_their_mask(
    masked: float | None, mixes: bool
) -> None:
    device = FakeDevice(0.010, 0.011, 0.040, masked=masked)
    assert limits_of(device, 512 * 512) == {512 * 512: SizeLimit(2, mixes)}
    limits = BatchLimits(limits_of(device, 512 * 512), limit=0)
    assert [limits.mixes_lengths(side * side) for side in (256, 512)] == [mixes, mixes]


def test_that_is_kept_for_the_next_start(tmp_path: Path) -> None:
    device, file = FakeDevice(0.010, 0.011, 0.040, masked=0.025), tmp_path / "caps.json"
    expected = {512 * 512: SizeLimit(2, mixes_lengths=False)}
    assert limits_on(device, file, "model") == expected
    device.forwards = 0
    assert limits_on(device, file, "model") == expected
    assert device.forwards == batch_limits.REPEATS


def limits_on(device: FakeDevice, file: Path, model: str, free: int = 10) -> dict[int, SizeLimit]:
    merger: Any = device
    return load_or_measure(file, model, device.forward, merger, probe, 512 * 512, free, lambda: device.now)


def load_or_measure_on(device: FakeDevice, file: Path, model: str, free: int = 10) -> dict[int, int]:
    return {size: limit.cap for size, limit in limits_on(device, file, model, free).items()}


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


@pytest.mark.parametrize(
    "content",
    ["[]", '{"model": {"262144": 8}}', '{"model": {"caps": {"262144": 8}}}', '{"model": {"sizes": {"262144": 8}}}'],
)
def test_a_broken_or_older_file_is_measured_again(tmp_path: Path, content: str) -> None:
    file = tmp_path / "caps.json"
    file.write_text(content)
    assert load_or_measure_on(FakeDevice(0.002, 0.004), file, "model") == {512 * 512: 1}
