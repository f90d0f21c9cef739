"""The real engine with the embedded demo model behind the real server."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.support.full_mode import needs_full_mode
from tests.support.images import opened
from tests.support.server import ROOT

PLAIN = {"add_overlay": False, "num_inference_steps": 4}
DETERMINISTIC = PLAIN | {"deterministic": True}
# Whether the two calls of a guided step share a forward depends on learnt times, so rounding may move a pixel by one.
ROUNDING = 1


def pixels_of(response):
    """Return the decoded pixels of an answer, whatever its metadata says."""
    return np.asarray(opened(response).convert("RGB"), dtype=np.int16)


def difference(response, pixels):
    return np.abs(pixels_of(response) - pixels).max()


def test_image_of_the_demo_model_is_a_512_by_512_png(demo_server):
    response = demo_server.generate("a red circle on a blue background")
    image = opened(response)
    assert (image.format, image.size) == ("PNG", (512, 512))
    assert float(response.headers["X-Inference-Time"]) > 0


def test_health_and_info_tell_the_truth_about_the_demo_model(demo_server):
    info = demo_server.get("/info").json()
    assert info["total_parameters"] > 100_000
    assert info["model_size_mb"] > 1
    assert demo_server.health()["generator_info"]["dtype"] == info["dtype"] == "float32"


def test_same_seed_generates_the_same_pixels_and_another_seed_others(demo_server):
    first = pixels_of(demo_server.generate(seed=5, **DETERMINISTIC))
    assert difference(demo_server.generate(seed=5, **DETERMINISTIC), first) == 0
    assert difference(demo_server.generate(seed=5, **PLAIN), first) <= ROUNDING
    assert difference(demo_server.generate(seed=6, **PLAIN), first) > 100


def test_size_that_no_token_grid_fits_is_exact_all_the_same(demo_server):
    response = demo_server.generate(width=333, height=258, **PLAIN)
    assert opened(response).size == (333, 258)


@pytest.mark.fault(7)
def test_cancelled_job_frees_the_device_and_the_next_image_is_bit_equal(demo_server):
    before = pixels_of(demo_server.generate(seed=5, **DETERMINISTIC))
    with demo_server.raw_generation(b'{"prompt": "a blue square", "num_inference_steps": 150}'):
        demo_server.wait_until_active()
    # A step takes far less than the second allowed here; all of them together far more.
    assert demo_server.wait_for(lambda: demo_server.health()["active_tasks"] == 0, "the cancel", 10) < 1.5
    assert difference(demo_server.generate(seed=5, **DETERMINISTIC), before) == 0


def test_killed_engine_heals_and_generates_the_same_image(demo_server):
    before = demo_server.health()
    wanted = pixels_of(demo_server.generate(seed=5, **PLAIN))
    running = demo_server.start_generating("a red circle on a blue background", seed=5, **PLAIN)
    os.kill(before["engine_pid"], signal.SIGKILL)
    assert difference(running.result(110), wanted) <= ROUNDING
    after = demo_server.health()
    assert after["engine_restarts"] == before["engine_restarts"] + 1
    assert after["status"] == "healthy"


@needs_full_mode
@pytest.mark.usefixtures("demo_server")  # it skips where there is no demo model
def test_one_image_is_generated_without_any_server(tmp_path):
    image = tmp_path / "new folder" / "out.png"
    outcome = subprocess.run(
        [sys.executable, "qwen_image_server.py", "generate", "a red circle", "-o", image, "--steps", "4"],
        cwd=ROOT, env=os.environ | {"MODEL": "demo", "OFFLINE": "1"}, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    told = json.loads(outcome.stdout)
    assert (told["file"], told["seed"]) == (str(image), 42)
    with Image.open(image) as generated:
        assert (generated.format, generated.size) == ("PNG", (512, 512))
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a cat", "-o", "image.gif"], "must end in"),
        (["", "-o", "image.png"], "Prompt is required"),
        (["a cat", "--steps", "1000", "-o", "image.png"], "MAX_STEPS"),
        (["a cat", "-o", "image.png"], "no such model"),
    ],
)
def test_image_that_cannot_be_generated_is_one_sentence_and_a_failure(tmp_path, arguments, words):
    outcome = subprocess.run(
        [sys.executable, ROOT / "qwen_image_server.py", "generate", *arguments],
        cwd=tmp_path, env=os.environ | {"MODEL": str(tmp_path / "no such model"), "OFFLINE": "1"},
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert outcome.returncode == 1
    assert words in outcome.stderr.splitlines()[-1]
    assert "Traceback" not in outcome.stderr
    assert not list(tmp_path.iterdir())
