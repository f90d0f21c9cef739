"""What a person sees of one saved image and takes with it: its details, its file, and what makes it again."""

import io
import json
import subprocess
import uuid
import zipfile

import pytest
import requests
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_gallery import newest, pixels, save

# A sentence that is read from right to left.
HEBREW = "חתול כחול"


@pytest.fixture
def word(plain_server):
    """A word of the prompt of one image."""
    word = f"w{uuid.uuid4().hex}"
    save(plain_server, f"{HEBREW} {word}", seed=2**63, true_cfg_scale=3.5, negative_prompt="a dog")
    return word


def show(page, server, word):
    """Open the image of a test in the gallery, and return its dialog."""
    [item] = server.get(f"/v1/gallery?q={word}").json()["data"]
    page.evaluate(f"location.hash = 'gallery/{item['name']}'")
    dialog = page.get_by_role("dialog", name="Image")
    expect(dialog.locator("#details-prompt")).to_contain_text(word)
    return dialog


def written(value):
    """Return a value as JavaScript writes it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def test_every_setting_stands_in_the_details_and_the_copied_command_makes_the_image_again(
    plain_server, opened, word, tmp_path
):
    page = opened(plain_server)
    dialog = show(page, plain_server, word)
    [item] = json.loads(plain_server.get(f"/v1/gallery?q={word}").text)["data"]
    terms = dialog.locator("#details-rows dt").all()
    # A person reads them as in the form, and finds what a request calls them under the pointer.
    assert "Steps" in [term.inner_text() for term in terms]
    names = [term.get_attribute("title") or term.inner_text() for term in terms]
    rows = dict(zip(names, dialog.locator("#details-rows dd").all_inner_texts(), strict=True))
    for name, value in item["settings"].items():
        if name not in ("model", "prompt") and value != []:
            assert rows.pop(name) == written(value), name
    assert (rows["size of the image"], rows["model"]) == ("512×512", "fake")
    dialog.get_by_role("button", name="Copy as curl").click()
    command = page.get_by_label("The request as text").input_value()
    ended = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert pixels((tmp_path / "image.png").read_bytes()) == pixels(newest(plain_server, word))
    page.get_by_role("button", name="Use seed").click()
    expect(page.get_by_label("Seed", exact=True)).to_have_value(str(2**63))
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("")


def test_an_image_is_zoomed_with_the_wheel_and_its_prompt_is_written_in_its_own_direction(plain_server, opened, word):
    page = opened(plain_server)
    dialog = show(page, plain_server, word)
    expect(dialog.locator("#details-prompt")).to_have_css("direction", "rtl")
    box = dialog.locator("#lightbox-area").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -400)
    expect(dialog.locator("#lightbox-area")).to_have_class("zoomed")
    # The place under the pointer stays where it is: the image moves to the right.
    left = dialog.get_by_role("img").evaluate("(image) => new DOMMatrix(image.style.transform).e")
    assert left > 0
    page.mouse.wheel(0, 4000)
    expect(dialog.locator("#lightbox-area")).not_to_have_class("zoomed")
    page.get_by_role("button", name="Use prompt").click()
    prompt = page.get_by_label("Prompt", exact=True)
    expect(prompt).to_have_css("direction", "rtl")
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.locator(".card h3")).to_have_css("direction", "rtl")


def test_one_image_and_all_of_them_are_downloaded(plain_server, opened, word):
    page = opened(plain_server)
    dialog = show(page, plain_server, word)
    with page.expect_download() as started:
        dialog.get_by_role("link", name="Download").click()
    [item] = plain_server.get(f"/v1/gallery?q={word}").json()["data"]
    assert started.value.suggested_filename == item["name"]
    assert started.value.path().read_bytes() == requests.get(item["url"], timeout=30).content
    dialog.get_by_role("button", name="Close").click()
    with page.expect_download() as started:
        page.get_by_role("button", name="Download all").click()
    with zipfile.ZipFile(io.BytesIO(started.value.path().read_bytes())) as archive:
        assert item["name"] in archive.namelist()
        assert len(archive.namelist()) == plain_server.get("/v1/gallery").json()["total"]
        assert Image.open(io.BytesIO(archive.read(item["name"]))).size == (512, 512)
