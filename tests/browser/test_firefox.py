"""The web page in Debian's Firefox: make, cancel, reload, mask and both languages."""

import io
import shutil
from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from PIL import Image

from tests.browser.firefox.visitor import FirefoxVisitor
from tests.browser.test_page import newest_job
from tests.support.node_packages import node_package

SOURCE = "a red circle on a blue background"
ENGLISH = SimpleNamespace(prompt="Prompt", steps="Steps", images="Images", generate="Generate")
CHINESE = SimpleNamespace(prompt="提示词", steps="步数", images="张数", generate="生成")
CANVAS = """(() => {
  const canvas = document.getElementById("mask-shown"), {left, top, width} = canvas.getBoundingClientRect();
  return [left, top, width / canvas.width];
})()"""

BROAD_AND_SHARP = """Object.entries({"mask-size": 120, "mask-feather": 0}).forEach(([id, value]) => {
  Object.assign(document.getElementById(id), { value }).dispatchEvent(new Event("input", { bubbles: true }));
})"""


@pytest.fixture(scope="module")
def firefox():
    executable = shutil.which("firefox-esr") or shutil.which("firefox")
    if executable is None:
        pytest.skip("there is no Firefox, which run_tests.sh installs where it may")
    node_package(Path(__file__).parent, "puppeteer-core")
    firefox = FirefoxVisitor(executable, "zh-CN, zh")
    yield firefox
    firefox.close()


@pytest.fixture
def visitor(firefox, demo_server):
    """The page of a server, opened for the first time; it is in Chinese, as the browser prefers, and stays quiet."""
    firefox.open(demo_server.url)
    wait_for_form(firefox)
    yield firefox
    assert firefox.complaints() == []


@pytest.fixture
def english(visitor):
    visitor.press("button", "English")
    visitor.wait_for("document.documentElement?.lang === 'en'")
    wait_for_form(visitor)
    return visitor


def wait_for_form(visitor):
    visitor.wait_for("document.getElementById('num_inference_steps').value")


def generate(visitor, prompt, *, steps=None, images=None, names=ENGLISH):
    visitor.write("textbox", names.prompt, prompt)
    for name, value in ((names.steps, steps), (names.images, images)):
        if value is not None:
            visitor.write("spinbutton", name, value)
    visitor.press("button", names.generate)


def wait_for_card(visitor, state):
    visitor.wait_for(f"document.querySelector('.card')?.dataset.state === '{state}'")


def image_of(visitor, server):
    visitor.wait_for("document.querySelector('.card img').naturalWidth")
    address = visitor.evaluate("document.querySelector('.card img').getAttribute('src')")
    return Image.open(io.BytesIO(server.get(f"/{address}").content))


def test_an_image_is_made_in_chinese_and_the_choice_of_english_is_kept(visitor, demo_server):
    assert visitor.evaluate("document.documentElement.lang") == "zh-CN"
    generate(visitor, SOURCE, steps="4", names=CHINESE)
    wait_for_card(visitor, "done")
    assert visitor.evaluate("document.querySelector('.card .seed').textContent").startswith("种子")
    assert image_of(visitor, demo_server).size == (512, 512)
    visitor.press("button", "English")
    visitor.wait_for("document.documentElement?.lang === 'en'")
    visitor.reload()
    visitor.wait_for("document.querySelector('.card .seed')?.textContent.startsWith('seed')")
    assert visitor.evaluate("document.documentElement.lang") == "en"


def test_a_reload_finds_the_running_request_which_a_button_cancels(english, demo_server):
    # Alone, the images might be finished before a busy machine has loaded the page again.
    other = demo_server.start_generating("a red circle", num_inference_steps=150, n=2)
    generate(english, "a white house on green grass", steps="150", images="4")
    english.wait_for("document.querySelector('.card figure')?.dataset.state === 'preview'")
    number = newest_job(demo_server)["id"]
    english.reload()
    english.wait_for("document.querySelector('.card figure')?.dataset.state === 'preview'")
    assert english.evaluate("document.getElementById('prompt').value") == "a white house on green grass"
    english.press("button", "Cancel")
    wait_for_card(english, "cancelled")
    assert demo_server.get(f"/v1/jobs/{number}").json()["state"] == "cancelled"
    for job in demo_server.get("/v1/jobs", params={"limit": 2}).json()["data"]:
        requests.delete(f"{demo_server.url}/v1/jobs/{job['id']}", timeout=10)
    wait([other])


def test_only_what_is_marked_with_the_mouse_changes(english, demo_server, tmp_path):
    answer = demo_server.generate(SOURCE, aspect_ratio="s1:1", add_overlay=False)
    source = tmp_path / "source.png"
    source.write_bytes(answer.content)
    english.choose("#image", source)
    english.press("button", "Start from it")
    english.press("button", "Mask and extend")
    left, top, scale = english.wait_for(CANVAS)
    english.evaluate(BROAD_AND_SHARP)
    english.drag(*((left + x * scale, top + 256 * scale) for x in (150, 350)))
    english.press("button", "Use this mask")
    generate(english, "a yellow star on a black background")
    wait_for_card(english, "done")
    before, after = (
        np.asarray(image.convert("RGB")).astype(int) for image in (Image.open(source), image_of(english, demo_server))
    )
    changed = np.abs(before - after).sum(axis=2)
    assert changed[256, 150:350].mean() > 100
    assert changed[:180].max() == changed[330:].max() == 0
