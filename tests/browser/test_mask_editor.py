"""The mask editor: what is marked with mouse, pen and keyboard is what the server regenerates, in Chromium."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_gallery import PHONE
from tests.browser.test_page import download, generate
from tests.browser.test_sent_images import bring, png

SIDE = 256
PEN = """({from, to, pressure}) => {
  const canvas = document.getElementById("mask-shown");
  const {left, top, width} = canvas.getBoundingClientRect();
  const send = (name, [x, y]) => canvas.dispatchEvent(new PointerEvent(name, {
    pointerId: 1, pointerType: "pen", pressure, button: 0, bubbles: true,
    clientX: left + x * width / canvas.width, clientY: top + y * width / canvas.width,
  }));
  canvas.setPointerCapture = () => {};
  send("pointerdown", from);
  send("pointermove", to);
  send("pointerup", to);
}"""


def editing(page, side=SIDE):
    """Start from a grey image, and open its mask."""
    expect(page.get_by_label("Steps")).to_have_value("20")
    bring(page, png(Image.new("RGB", (side, side), "grey")))
    page.get_by_role("button", name="Mask and extend").click()
    return page.get_by_role("dialog", name="Mark what is to change")


@pytest.fixture
def page(fake_server, opened):
    return opened(fake_server)


def on_screen(page, *points):
    """Return where points of the image are on the screen."""
    canvas = page.locator("#mask-shown").bounding_box()
    scale = canvas["width"] / page.evaluate("document.getElementById('mask-shown').width")
    return [(canvas["x"] + x * scale, canvas["y"] + y * scale) for x, y in points]


def stroke(page, start, end):
    """Move the mouse over the canvas with its button down, between two points of the image."""
    first, last = on_screen(page, start, end)
    page.mouse.move(*first)
    page.mouse.down()
    page.mouse.move(*last, steps=4)
    page.mouse.up()


def use(page):
    page.get_by_role("button", name="Use this mask").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def sent_by(page):
    """Use the mask, press the button, and return the image and the mask that the server was sent, as arrays."""
    use(page)
    with page.expect_request(lambda request: request.method == "PUT") as sent:
        card = generate(page, "a masked cat", Steps="2")
    body = sent.value.post_data_json
    expect(card).to_have_attribute("data-state", "done")
    files = [io.BytesIO(base64.b64decode(body[name].split(",")[1])) for name in ("image", "mask")]
    return [np.asarray(Image.open(file).convert(mode)) for file, mode in zip(files, ("RGB", "L"), strict=True)]


def test_only_what_is_marked_changes_in_the_image(demo_server, opened):
    page = opened(demo_server)
    source = demo_server.generate("a red circle on a blue background", aspect_ratio="s1:1", add_overlay=False).content
    expect(page.get_by_label("Steps")).to_have_value("20")
    bring(page, source)
    page.get_by_role("button", name="Start from it").click()
    page.get_by_role("button", name="Mask and extend").click()
    page.get_by_label("Soft edge").fill("0")
    page.get_by_label("Size").fill("120")
    stroke(page, (150, 256), (350, 256))
    use(page)
    card = generate(page, "a yellow star on a black background")
    expect(card).to_have_attribute("data-state", "done")
    _, image = download(page, card)
    before, after = (np.asarray(each.convert("RGB")).astype(int) for each in (Image.open(io.BytesIO(source)), image))
    changed = np.abs(before - after).sum(axis=2)
    assert changed[256, 150:350].mean() > 100
    assert changed[:180].max() == changed[330:].max() == 0


def test_brush_eraser_undo_and_invert_make_the_mask_that_is_sent(page):
    editing(page)
    page.get_by_label("Soft edge").fill("0")
    page.get_by_label("Size").fill("40")
    stroke(page, (60, 60), (200, 60))
    page.get_by_label("Eraser").check()
    stroke(page, (130, 60), (130, 60))
    page.get_by_label("Brush").check()
    stroke(page, (60, 200), (200, 200))
    page.keyboard.press("Control+z")
    page.get_by_role("button", name="Invert").click()
    image, mask = sent_by(page)
    assert image.shape == (SIDE, SIDE, 3)
    # Inverted: the stroke stays but for its erased middle, and the one that was undone is regenerated as all the rest.
    assert [int(mask[y, x]) for x, y in ((60, 60), (200, 60), (130, 60), (130, 200), (5, 5))] == [0, 0, 255, 255, 255]


def test_without_a_pointer_a_rectangle_is_marked_and_its_edge_is_soft(page):
    dialog = editing(page)
    for label, value in (("Left", 50), ("Top", 60), ("Width", 100), ("Height", 80)):
        dialog.get_by_role("group", name="Rectangle").get_by_label(label).fill(str(value))
    dialog.get_by_label("Soft edge").fill("12")
    page.get_by_role("button", name="Mark the rectangle").focus()
    page.keyboard.press("Enter")
    _, mask = sent_by(page)
    assert (mask[100, 100], mask[20, 20]) == (255, 0)
    assert 100 < mask[100, 50] < 156
    # As much is marked as was asked for.
    assert abs(mask.mean() / 255 * SIDE**2 / (100 * 80) - 1) < 0.03


def test_a_pen_marks_as_wide_as_it_is_pressed(page):
    editing(page)
    page.get_by_label("Soft edge").fill("0")
    page.get_by_label("Size").fill("60")
    for y, pressure in ((60, 0.5), (180, 1.0)):
        page.evaluate(PEN, {"from": [60, y], "to": [200, y], "pressure": pressure})
    _, mask = sent_by(page)
    wide = [int((mask[y - 50 : y + 50, 130] > 128).sum()) for y in (60, 180)]
    assert wide == pytest.approx([30, 60], abs=2)


def test_a_finger_marks_and_two_fingers_zoom_without_marking(fake_server, opened):
    page = opened(fake_server, **PHONE)
    editing(page)
    page.get_by_label("Soft edge").fill("0")
    page.get_by_label("Size").fill("40")
    session = page.context.new_cdp_session(page)

    def touch(*way):
        for kind, points in [("touchStart", way[0]), *(("touchMove", points) for points in way[1:]), ("touchEnd", ())]:
            touched = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

    touch(*([point] for point in on_screen(page, (60, 60), (120, 60), (200, 60))))
    near, far = on_screen(page, (60, 160), (200, 160), (100, 160), (160, 160)), page.locator("#mask-shown")
    width = far.bounding_box()["width"]
    touch(near[2:], near[:2])
    assert far.bounding_box()["width"] > 1.5 * width
    _, mask = sent_by(page)
    marked = {(x, y): int(mask[y, x]) for x, y in ((60, 60), (130, 60), (200, 60), (130, 160), (130, 100))}
    assert list(marked.values()) == [255, 255, 255, 0, 0], marked


def test_on_a_phone_a_large_image_is_seen_whole_with_its_handles_and_the_button_that_uses_the_mask(fake_server, opened):
    page = opened(fake_server, **PHONE)
    dialog = editing(page, side=1000)
    area = page.locator("#mask-area").bounding_box()
    for handle in page.locator(".mask-handle").all():
        box = handle.bounding_box()
        assert area["x"] <= box["x"] <= box["x"] + box["width"] <= area["x"] + area["width"]
        assert area["y"] <= box["y"] <= box["y"] + box["height"] <= area["y"] + area["height"]
    using = dialog.get_by_role("button", name="Use this mask")
    expect(using).to_be_in_viewport(ratio=1)
    # One tap right after a stroke is enough.
    session = page.context.new_cdp_session(page)
    for kind, points in (("touchStart", [(300, 300)]), ("touchMove", [(600, 600)]), ("touchEnd", [])):
        touched = [{"x": x, "y": y, "id": 0} for x, y in on_screen(page, *points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})
    using.tap()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Remove the mask")).to_be_visible()


def test_the_image_is_extended_by_dragging_its_frame_and_the_new_part_is_the_mask(page):
    dialog = editing(page)
    page.get_by_label("Soft edge").fill("0")
    handle = page.locator(".mask-handle[data-side=right]").bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    scale = page.locator("#mask-shown").bounding_box()["width"] / SIDE
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 64 * scale, y)
    page.mouse.up()
    right = dialog.get_by_role("group", name="Extend the image").get_by_label("Right")
    assert int(right.input_value()) == pytest.approx(64, abs=2)
    right.fill("64")
    dialog.get_by_role("group", name="Extend the image").get_by_label("Top").fill("32")
    page.keyboard.press("Tab")
    image, mask = sent_by(page)
    assert image.shape == (SIDE + 32, SIDE + 64, 3)
    # The edges go on in the new part, which alone is regenerated.
    assert (image == 128).all()
    assert (mask[32:, :SIDE] == 0).all()
    assert (mask[:32] == 255).all()
    assert (mask[:, SIDE:] == 255).all()


def test_the_mask_is_gone_with_its_image_and_stays_with_a_model_that_inpaints(page):
    editing(page)
    page.get_by_role("button", name="Invert").click()
    use(page)
    page.get_by_role("button", name="Remove the mask").click()
    with page.expect_request(lambda request: request.method == "PUT") as sent:
        generate(page, "no mask", Steps="2")
    assert {"image", "mask"} & sent.value.post_data_json.keys() == {"image"}
    page.get_by_role("button", name="Start without an image").click()
    expect(page.get_by_role("button", name="Mask and extend")).to_be_hidden()
