"""What a card and the queue tell of a running request's steps."""

import json
import shutil
import subprocess

import pytest

from imageserver.api.page import views
from imageserver.api.page.joined import join_modules

NODE = shutil.which("node")
MAIN = """import { TEXTS } from "./language/texts.js";
import { stepOf } from "./jobs/steps.js";
import { addTexts } from "./language/text.js";
TEXTS.forEach(addTexts);
console.log(stepOf(JOB));
"""


def told(language="en", **job):
    """Return what the page tells of a job."""
    sources = {path.relative_to(views.FOLDER).as_posix(): path.read_text() for path in views.FOLDER.rglob("*.js")}
    job = {"steps": 20, "n": 1, "total_steps": 20, "expected_seconds": None} | job
    script = join_modules("main.js", sources | {"main.js": MAIN.replace("JOB", json.dumps(job))})
    browser = f'globalThis.navigator = {{ languages: ["{language}"] }};\n'
    return subprocess.run([NODE, "-e", browser + script], capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_the_steps_are_told_with_the_time_that_the_server_expects_and_at_last_that_the_image_is_decoded():
    assert told(step=5) == "Step 5 of 20.\n"
    assert told(step=5, expected_seconds=30.2) == "Step 5 of 20, about 30 s left.\n"
    assert told(step=20, expected_seconds=0) == "All 20 steps are done. The image is being decoded.\n"
    assert told(step=20, language="zh") == "20 步已全部完成，正在解码图像…\n"


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_fewer_steps_than_were_asked_for_are_explained():
    assert told(step=5, total_steps=17).startswith("Step 5 of 17. Of 20 steps, the first are left out")
    # The short list of jobs says nothing of what was asked for.
    assert told(step=5, total_steps=17, steps=None) == "Step 5 of 17.\n"
    # Larger images take more.
    assert told(step=5, total_steps=40) == "Step 5 of 40.\n"
