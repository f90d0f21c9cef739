"""The layers of an image on the page: seen over each other, one by one, and as files with transparency."""

import io

import pytest
import requests
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_accessibility import RUN
from tests.browser.test_image_edits import sent_with
from tests.browser.test_sent_images import bring, png


@pytest.fixture(scope="module")
def server(start):
    """A server whose model separates an image into layers, three by default."""
    return start(FAKE_KINDS="edit", FAKE_LAYERS="3")


def test_layers_are_asked_for_shown_over_each_other_and_downloaded_with_their_transparency(axe, server, opened):
    # Of an image whose file the other test has removed.
    page = opened(server, excused="/thumbnail")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("20")
    bring(page, png(Image.new("RGB", (640, 640), "red")))
    page.get_by_label("Prompt", exact=True).fill("a cat")
    page.get_by_label("Layers", exact=True).fill("2")
    page.get_by_label("random").uncheck()
    body = sent_with(page, page.get_by_role("button", name="Generate", exact=True).click)
    assert body["layers"] == 2
    figures = page.locator(".card figure")
    expect(figures).to_have_count(2)
    # Layers of one image have one seed.
    assert figures.locator(".seed").all_inner_texts() == 2 * [f"seed {body['seed']}"]
    figures.first.get_by_role("button", name="Layers").click()
    dialog = page.get_by_role("dialog", name="Layers of the image")
    expect(dialog.locator("img")).to_have_count(2)
    dialog.get_by_role("checkbox", name="Layer 2").uncheck()
    expect(dialog.get_by_alt_text("Layer 2")).to_be_hidden()
    expect(dialog.get_by_alt_text("Layer 1")).to_be_visible()
    with page.expect_download() as started:
        dialog.get_by_role("link", name="Download Layer 2").click()
    layer = Image.open(io.BytesIO(started.value.path().read_bytes()))
    assert (layer.mode, layer.getextrema()[3]) == ("RGBA", (0, 255))
    page.evaluate(axe)
    assert page.evaluate(RUN) == []
    dialog.get_by_role("button", name="Close").click()
    expect(figures.first.get_by_role("button", name="Layers")).to_be_focused()
    # The model that changes a layer may have none.
    box = figures.first.get_by_label("What to change in this image")
    box.fill("make it blue")
    assert "layers" not in sent_with(page, lambda: box.press("Enter"))


def test_the_gallery_finds_the_other_layers_of_an_image_as_far_as_they_are_there(server, opened):
    image = {"image": ("a.png", png(Image.new("RGB", (640, 640), "red")))}
    fields = {"prompt": "a dog", "n": "2", "save_to_file": "true", "num_inference_steps": "2"}
    urls = requests.post(f"{server.url}/generate", data=fields, files=image, timeout=60).json()["urls"]
    names = [url.rpartition("/")[2] for url in urls]
    assert len(names) == 6
    (server.output_dir / names[3]).unlink()
    page = opened(server, excused="404")
    # Of the second image.
    page.evaluate(f"location.hash = 'gallery/{names[4]}'")
    page.locator("#lightbox").get_by_role("button", name="Layers").click()
    dialog = page.get_by_role("dialog", name="Layers of the image")
    expect(dialog.locator("img")).to_have_count(2)
    found = dialog.locator("img").evaluate_all("images => images.map((image) => new URL(image.src).pathname)")
    assert [address.rpartition("/")[2] for address in found] == names[4:]
    assert dialog.get_by_role("checkbox").count() == 2
    expect(dialog.get_by_role("checkbox", name="Layer 1")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#lightbox")).to_be_visible()
