"""Small files of large images take a bounded memory, however many come at once."""

import collections
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from benchmarks.memory import PeakMemory, memory_of
from tests.support.images import coded, pixels

# The default limits are for the full mode's flood; a small one needs small limits.
FULL = "QIS_FULL" in os.environ
COUNT, WIDTH, HEIGHT = (200, 4096, 4096) if FULL else (24, 4096, 2048)
LIMITS = {} if FULL else {"MAX_DECODE_MB": "150", "MAX_QUEUE": "2", "CACHE_MAX_MB": "0"}
PROMPT = "a cat" if FULL else "[step=1]"
DECODED_MB = WIDTH * HEIGHT * 3 / 2**20
MAX_MB = 1536 if FULL else COUNT * DECODED_MB / 2


@pytest.mark.fault(39)
@pytest.mark.timeout(600 if FULL else 60)
def test_images_that_come_at_once_are_decoded_one_after_the_other_and_those_beyond_the_queue_are_refused(own_servers):
    server = own_servers(**LIMITS)
    bodies = [
        {"prompt": PROMPT, "image": coded(Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0))), "size": "64x64"}
        | {"num_inference_steps": 4, "seed": number, "add_overlay": False, "cache": False}
        for number in range(COUNT)
    ]
    # numpy and Pillow are imported at the first image.
    assert server.post(bodies[0]).ok
    processes = server.processes()
    idle = sum(map(memory_of, processes))
    with PeakMemory(processes) as memory, ThreadPoolExecutor(COUNT) as pool:
        answers = list(pool.map(lambda body: server.post(body, timeout=500), bodies))
    counted = collections.Counter(answer.status_code for answer in answers)
    assert counted.keys() <= {200, 413, 429}, counted
    assert counted[200] >= 2
    assert FULL or counted[429] > 0
    for number, answer in enumerate(answers):
        # The fake engine generates the image that it is given.
        if answer.ok:
            assert set(map(tuple, pixels(answer).reshape(-1, 3))) == {(number, 0, 0)}
    assert memory.peak - idle < MAX_MB
