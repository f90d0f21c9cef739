"""Small files of large images take a bounded memory, however many come at once."""

import collections
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from benchmarks.memory import PeakMemory, memory_of
from tests.support.images import coded

COUNT, WIDTH, HEIGHT = 24, 4096, 2048
DECODED_MB = WIDTH * HEIGHT * 3 / 2**20


@pytest.mark.fault(39)
def test_images_that_come_at_once_are_decoded_one_after_the_other_and_those_beyond_the_queue_are_refused(own_servers):
    server = own_servers(MAX_DECODE_MB="150", MAX_QUEUE="2", CACHE_MAX_MB="0")
    bodies = [
        {"prompt": "[step=1]", "image": coded(Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0))), "size": "64x64"}
        | {"num_inference_steps": 4, "seed": number}
        for number in range(COUNT)
    ]
    # numpy and Pillow are imported at the first image.
    assert server.post(bodies[0]).ok
    processes = server.processes()
    idle = sum(map(memory_of, processes))
    with PeakMemory(processes) as memory, ThreadPoolExecutor(COUNT) as pool:
        answers = collections.Counter(answer.status_code for answer in pool.map(server.post, bodies))
    assert answers.keys() == {200, 429}
    assert answers[200] >= 2
    assert memory.peak - idle < COUNT * DECODED_MB / 2
