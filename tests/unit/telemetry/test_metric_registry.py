"""What processes measure is added up, and no client can make the metrics grow without end."""

import random
import time

import pytest
from PIL import Image

from imageserver.telemetry.generation_labels import labels_of
from imageserver.telemetry.instruments import (
    BATCH_SIZE,
    INSTRUMENTS,
    KEY_DEVICE_SECONDS,
    MAX_VALUES,
    QUEUE_SECONDS,
    REFUSALS,
    REQUEST_SECONDS,
)
from imageserver.telemetry.metric_registry import MetricRegistry
from tests.support.factories import generation
from tests.support.images import file_of
from tests.support.measured import counted, observed

LABELS = ("demo", "text", "512", "completed")


def test_observations_of_several_processes_are_added_up():
    sums, workers = MetricRegistry(), (MetricRegistry(), MetricRegistry())
    for worker in workers:
        worker.observe(REQUEST_SECONDS, 0.3, *LABELS)
        worker.observe(REQUEST_SECONDS, 2000.0, *LABELS)
        worker.count(REFUSALS, "queue_full")
        sums.add(worker.drain())
    assert observed(sums.series(), "request_seconds") == (4, 4000.6)
    assert counted(sums.series(), "refusals") == {("queue_full",): 2.0}
    assert all(worker.series() == () for worker in workers)


def test_a_value_counts_in_the_first_bucket_that_it_does_not_exceed():
    measurements = MetricRegistry()
    for images in (1, 2, 64, 65):
        measurements.observe(BATCH_SIZE, images, *LABELS[:3])
    [series] = measurements.series()
    buckets = dict(zip([*BATCH_SIZE.bounds, None], series.counts, strict=True))
    assert {bound: count for bound, count in buckets.items() if count} == {1.0: 1, 2.0: 1, 64.0: 1, None: 1}


def test_keys_without_end_share_one_row_and_nothing_is_lost():
    measurements = MetricRegistry()
    for number in range(3 * MAX_VALUES):
        measurements.count(KEY_DEVICE_SECONDS, f"key {number}", amount=2.0)
    rows = counted(measurements.series(), "key_device_seconds")
    assert len(rows) == MAX_VALUES + 1
    assert rows["other",] == 2.0 * 2 * MAX_VALUES


def test_what_another_version_measures_is_left_out():
    measurements = MetricRegistry()
    measurements.observe(QUEUE_SECONDS, 1.0, *LABELS)
    [series] = measurements.drain()
    changed = (
        type(series)(name="unknown", labels=(), counts=(), total=1.0),
        type(series)(name=series.name, labels=("few",), counts=series.counts, total=1.0),
        type(series)(name=series.name, labels=series.labels, counts=(1,), total=1.0),
    )
    measurements.add(changed)
    assert observed(measurements.series(), "request_queue_seconds") == (0, 0.0)


def test_sizes_and_kinds_have_few_names_whatever_clients_send():
    assert labels_of(generation(width=512, height=512), "demo") == ("demo", "text", "512")
    assert labels_of(generation(width=1664, height=928), "demo") == ("demo", "text", "1536")
    assert labels_of(generation(width=4096, height=4096), "") == ("other", "text", "larger")


def test_the_names_of_all_instruments_differ_and_each_has_a_sentence():
    assert all(instrument.help.endswith(".") for instrument in INSTRUMENTS.values())
    assert all(list(instrument.bounds) == sorted(set(instrument.bounds)) for instrument in INSTRUMENTS.values())


@pytest.mark.alone
def test_all_that_is_observed_of_a_request_takes_less_than_a_hundredth_of_encoding_its_image():
    measurements = MetricRegistry()
    image = Image.frombytes("RGB", (512, 512), random.Random(1).randbytes(512 * 512 * 3))
    encoding = min(_seconds(lambda: file_of(image)) for _ in range(5))

    def observe() -> None:
        for _ in range(12):
            measurements.observe(REQUEST_SECONDS, 0.3, *LABELS)

    assert min(_seconds(observe) for _ in range(20)) < encoding / 100


def _seconds(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
