"""The gallery as a person uses it, in Chromium: the same images on every device."""

import io
import json
import re
import uuid
import zipfile

import pytest
import requests
from PIL import Image
from playwright.sync_api import expect

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


@pytest.fixture(scope="module")
def server(start):
    server = start(GALLERY_MAX_IMAGES="500")
    # So that no list of all images has as many as a search finds.
    save(server, "another image")
    return server


def save(server, prompt, **fields):
    """Save an image, as any client may, and return its name."""
    body = {"prompt": prompt, "save_to_file": True, "size": "512x512", "num_inference_steps": 2, "add_overlay": False}
    answer = requests.post(f"{server.url}/generate", json=body | fields, timeout=30)
    return answer.json()["file_path"].rpartition("/")[2]


@pytest.fixture
def word(server):
    """A word of the prompts of one test, and its three images."""
    word = f"w{uuid.uuid4().hex}"
    for number in (1, 2, 3):
        save(server, f"{word} number {number}", seed=number)
    return word


def newest(server, word):
    """Return the newest image of a test."""
    return requests.get(server.get(f"/v1/gallery?q={word}").json()["data"][0]["url"], timeout=30).content


def pixels(content):
    return Image.open(io.BytesIO(content)).tobytes()


def searched(page, word):
    """Show the gallery and the images of a test."""
    page.get_by_role("link", name="Gallery").click()
    page.get_by_label("Search prompts").fill(word)
    expect(page.locator(".tile")).to_have_count(3)
    return page.locator(".tile")


def prompts(page):
    return page.locator(".tile img").evaluate_all("images => images.map(image => image.alt.split(' ').pop())")


def test_images_are_found_marked_and_looked_at_with_the_keyboard_alone(server, opened, word):
    page = opened(server)
    tiles = searched(page, word)
    assert prompts(page) == ["3", "2", "1"]
    expect(page.locator("#gallery-kept")).to_contain_text("for 7 days and favourites longer")
    expect(page.locator("#gallery-kept")).to_contain_text("everybody who reaches it")
    expect(tiles.first.locator("img")).to_have_js_property("naturalWidth", 320)
    tiles.first.locator(".open").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Image")
    expect(dialog.locator("#details-prompt")).to_have_text(f"{word} number 2")
    expect(dialog.get_by_role("img")).to_have_js_property("naturalWidth", 512)
    expect(dialog.locator("#details-rows")).to_contain_text("Steps")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("#details-prompt")).to_have_text(f"{word} number 1")
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("button", name="Next image")).to_be_disabled()
    dialog.get_by_role("button", name="Favourite").press("Enter")
    expect(dialog.get_by_role("button", name="Favourite")).to_have_attribute("aria-pressed", "true")
    # All that is behind the dialog is out of reach.
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("+")
    assert "scale(1.5)" in dialog.get_by_role("img").get_attribute("style")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(tiles.nth(2).locator(".open")).to_be_focused()
    page.get_by_label("Favourites only").check()
    expect(page.locator(".tile")).to_have_count(1)


def test_settings_go_back_into_the_form_and_out_as_a_request(server, opened, word, tmp_path, monkeypatch):
    page = opened(server)
    searched(page, word).first.locator(".open").click()
    page.get_by_role("button", name="Copy as Python").click()
    code = page.get_by_label("The request as text").input_value()
    assert f'"prompt": "{word} number 3"' in code
    assert '"add_overlay": False' in code
    page.get_by_role("button", name="Copy as curl").click()
    command = page.get_by_label("The request as text").input_value()
    # What is copied generates the image again.
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    made = (tmp_path / "image.png").read_bytes()
    body = json.loads(re.search(r"-d '(.*)' \\\n", command)[1])
    again = requests.post(re.search(r"curl (\S+) ", command)[1], json=body, timeout=30).content
    assert pixels(made) == pixels(again) == pixels(newest(server, word))
    page.get_by_role("button", name="Use prompt").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(f"{word} number 3")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("20")
    page.go_back()
    page.get_by_role("button", name="Use all").click()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("2")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("3")
    expect(page.get_by_label("Aspect ratio", exact=True)).to_have_value(re.compile("[sm]1:1"))


def test_some_are_compared_downloaded_deleted_and_had_back(server, opened, word):
    page = opened(server)
    tiles = searched(page, word)
    for index in (0, 2):
        tiles.nth(index).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare two").click()
    slider = page.get_by_role("slider", name="Share of the first image")
    slider.press("Home")
    expect(page.locator("#comparison-over")).to_have_css("clip-path", "inset(0px 0px 0px 0%)")
    page.keyboard.press("Escape")
    with page.expect_download() as started:
        page.get_by_role("button", name="Download ZIP").click()
    with zipfile.ZipFile(io.BytesIO(started.value.path().read_bytes())) as archive:
        assert len(archive.namelist()) == 2
    page.get_by_role("button", name="Delete").click()
    expect(tiles).to_have_count(1)
    assert len(server.get(f"/v1/gallery?q={word}").json()["data"]) == 1
    expect(page.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("Enter")
    expect(tiles).to_have_count(3)
    assert prompts(page) == ["3", "2", "1"]
    assert len(server.get(f"/v1/gallery?q={word}").json()["data"]) == 3


def test_an_image_opened_by_its_address_is_marked_and_has_its_neighbours(server, opened, word):
    page = opened(server)
    item = server.get(f"/v1/gallery?q={word}").json()["data"][1]
    page.evaluate(f"location.hash = 'gallery/{item['name']}'")
    page.reload()
    dialog = page.get_by_role("dialog", name="Image")
    expect(dialog.locator("#details-prompt")).to_have_text(f"{word} number 2")
    expect(dialog.get_by_role("button", name="Next image")).to_be_enabled()
    expect(dialog.get_by_role("button", name="Previous image")).to_be_enabled()
    for is_favourite in (True, False):
        dialog.get_by_role("button", name="Favourite").click()
        expect(dialog.get_by_role("button", name="Favourite")).to_have_attribute(
            "aria-pressed", str(is_favourite).lower()
        )
        assert server.get(f"/v1/gallery/{item['name']}").json()["favourite"] is is_favourite


def test_what_is_deleted_one_by_one_in_the_large_image_is_had_back_there_at_once(server, opened, word):
    page = opened(server, excused="403")
    tiles = searched(page, word)
    total = server.get("/v1/gallery").json()["total"]
    # Its address has expired: it gets another one.
    page.route("**/images/*", lambda route: route.fulfill(status=403), times=1)
    tiles.first.locator(".open").click()
    dialog = page.get_by_role("dialog", name="Image")
    expect(dialog.get_by_role("img")).to_have_js_property("naturalWidth", 512)
    # A held key deletes one image.
    for _ in range(3):
        page.keyboard.down("Delete")
    page.keyboard.up("Delete")
    expect(dialog.locator("#details-prompt")).to_have_text(f"{word} number 2")
    expect(page.locator("#gallery-total")).to_have_text(f"2 of {total - 1} images")
    expect(dialog).to_contain_text("The image is deleted.")
    page.keyboard.press("Delete")
    expect(dialog.locator("#details-prompt")).to_have_text(f"{word} number 1")
    expect(dialog).to_contain_text("2 images are deleted.")
    dialog.get_by_role("button", name="Undo").click()
    expect(dialog.locator("#details-prompt")).to_have_text(f"{word} number 3")
    expect(page.locator("#gallery-total")).to_have_text(f"3 of {total} images")
    page.keyboard.press("Escape")
    assert prompts(page) == ["3", "2", "1"]
    # What another device deletes goes from here too.
    second = server.get(f"/v1/gallery?q={word}").json()["data"][1]["name"]
    requests.delete(f"{server.url}/v1/gallery/{second}", timeout=30)
    page.get_by_role("link", name="Create").click()
    page.get_by_role("link", name="Gallery").click()
    expect(tiles).to_have_count(2)
    assert prompts(page) == ["3", "1"]


def test_another_device_shows_the_same_and_a_phone_swipes(server, opened, word):
    page = opened(server, locale="zh-CN", **PHONE)
    page.get_by_role("link", name="图库").click()
    page.get_by_label("搜索提示词").fill(word)
    expect(page.locator(".tile")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert_two_columns(page)
    page.locator(".tile").first.get_by_role("checkbox").check()
    for button in page.locator("#gallery-chosen button").all():
        expect(button).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="取消选择").click()
    page.locator(".tile .open").first.tap()
    expect(page.locator("#details-prompt")).to_have_text(f"{word} number 3")
    assert page.evaluate("document.getElementById('lightbox').scrollWidth") <= 390
    fingers = Fingers(page)
    fingers.swipe(300, 80)
    expect(page.locator("#details-prompt")).to_have_text(f"{word} number 2")
    fingers.swipe(80, 300)
    expect(page.locator("#details-prompt")).to_have_text(f"{word} number 3")
    fingers.pinch()
    expect(page.locator("#lightbox-area")).to_have_class("zoomed")
    # Zoomed, a finger moves the image.
    fingers.swipe(300, 80)
    expect(page.locator("#details-prompt")).to_have_text(f"{word} number 3")
    page.go_back()
    expect(page.locator("#lightbox")).to_be_hidden()
    save(server, f"{word} number 4")
    page.get_by_role("link", name="创作").click()
    page.get_by_role("link", name="图库").click()
    expect(page.locator(".tile")).to_have_count(4)


def assert_two_columns(page):
    """Check that two of three tiles are beside each other, and that arrow keys go where they point."""
    first, second, third = (tile.bounding_box() for tile in page.locator(".tile").all())
    assert (first["y"], first["x"]) == (second["y"], third["x"])
    assert first["x"] < second["x"]
    assert first["y"] < third["y"]
    tiles = page.locator(".tile .open")
    tiles.first.focus()
    for key, index in (("ArrowDown", 2), ("ArrowUp", 0), ("ArrowRight", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        expect(tiles.nth(index)).to_be_focused()


class Fingers:
    """Fingers on a page, by their places."""

    def __init__(self, page):
        self._session = page.context.new_cdp_session(page)

    def move(self, *way):
        """Put fingers down at the first places, move them along the others, and lift them."""
        for kind, points in [("touchStart", way[0]), *(("touchMove", points) for points in way[1:]), ("touchEnd", ())]:
            touched = [{"x": x, "y": 300, "id": number} for number, x in enumerate(points)]
            self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

    def swipe(self, start, end):
        self.move(*([start + share * (end - start)] for share in (0, 0.25, 0.5, 0.75, 1)))

    def pinch(self):
        self.move(*((180 - spread, 210 + spread) for spread in (0, 20, 50, 80)))


def test_more_are_loaded_while_scrolling(server, opened, word):
    for _ in range(16):
        save(server, f"{word} scrolled", size="64x64", num_inference_steps=1, n=4, cache=False)
    page = opened(server)
    page.get_by_role("link", name="Gallery").click()
    page.get_by_label("Search prompts").fill(f"{word} scrolled")
    # Before its images are there, a short page has nothing to scroll.
    expect(page.locator(f'.tile img[alt^="{word} scrolled"]').nth(59)).to_be_attached()
    page.mouse.wheel(0, 20000)
    expect(page.locator(".tile")).to_have_count(64)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
