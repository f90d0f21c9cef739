"""The README's image of the page is written by a command, captions whole."""

import os

import pytest
from PIL import Image
from playwright.sync_api import expect

from tools import save_screenshot

VISIBLE = """(caption) => {
  const { top, bottom } = caption.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight;
}"""


@pytest.mark.skipif("QIS_FULL" not in os.environ, reason="generates four images with the demo model")
def test_the_command_writes_the_page_with_whole_captions(demo_server, opened, tmp_path):
    page = opened(demo_server, viewport={"width": save_screenshot.WIDTH, "height": save_screenshot.HEIGHT})
    save_screenshot.write(page, tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as image:
        assert image.width == save_screenshot.WIDTH
        assert image.height > save_screenshot.HEIGHT // 2
        # Something is in it.
        assert len(image.convert("RGB").getcolors(2**24)) > 1000
    captions = page.locator(".card figcaption:visible")
    expect(captions).to_have_count(save_screenshot.IMAGES)
    assert all(caption.evaluate(VISIBLE) for caption in captions.all())
