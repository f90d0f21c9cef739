"""A body that is expensive to read keeps nobody else waiting, and large bodies that mean something are read."""

import json
import statistics
import time

import pytest
import requests

from benchmarks.bodies.accepted import ACCEPTED_BODIES
from benchmarks.bodies.hostile import HOSTILE_BODIES
from benchmarks.bodies.sent_body import MIB, send
from benchmarks.memory import PeakMemory, memory_of
from tests.support.server import in_background

SIZE = 12 * MIB
# Of its size: some copies of it. Python takes 22 times the size for many lists, and more for many keys.
MAX_MEMORY = 8
# One for each way to a parser.
WAYS = (
    "many lists", "empty pairs", "one long field name", "JSON in a field", "many lists in a frame", "no boundary",
    "an emoji in a frame",
)  # fmt: skip


@pytest.mark.fault(38)
@pytest.mark.alone
@pytest.mark.parametrize("name", WAYS)
def test_a_hostile_body_is_refused_and_others_wait_a_fraction_of_the_time_that_python_takes_to_parse_it(
    fake_server, name
):
    body = next(body for body in HOSTILE_BODIES if body.name == name)
    data, processes = body.build(SIZE), fake_server.processes()
    idle = sum(map(memory_of, processes))
    with PeakMemory(processes) as memory:
        answer, longest = answer_and_longest_wait(fake_server, body, data)
    assert answer in ("400", "bad_request")
    assert longest < seconds_to_parse_lists() / 2
    assert memory.peak - idle < MAX_MEMORY * SIZE / MIB


@pytest.mark.alone
@pytest.mark.parametrize("body", ACCEPTED_BODIES, ids=lambda body: body.name)
def test_an_image_of_fifteen_mebibytes_is_read_in_every_way_and_others_hardly_wait(fake_server, body):
    data = body.build(23 * MIB)
    assert len(data) > 15 * MIB
    answer, longest = answer_and_longest_wait(fake_server, body, data)
    assert answer in ("200", "result")
    assert longest < seconds_to_parse_lists() / 2


def answer_and_longest_wait(server, body, data):
    """Send a body, and return its answer and the longest that a health check took meanwhile."""
    sending, waits = in_background(send, server.port, body, data), []
    while not sending.done():
        began = time.perf_counter()
        assert requests.get(f"{server.url}/livez", timeout=60).ok
        waits.append(time.perf_counter() - began)
    return sending.result(), max(waits)


def seconds_to_parse_lists():
    """Return how long this machine, as busy as it is, takes for what nobody should wait for, by a quarter of it."""
    yardstick = b"[" + b"[]," * (SIZE // 4 // 3) + b"[]]"
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        json.loads(yardstick)
        seconds.append(time.perf_counter() - began)
    return 4 * statistics.median(seconds)
