"""Images that are dropped, pasted and chosen on the page: what the server receives of them, in Chromium."""

import base64
import io
import time

import pytest
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import expect

from tests.browser.test_first_minute import alter_start
from tests.browser.test_page import download, generate
from tests.support.images import noise

DROP = """async ({kind, name, type, data}) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type}));
  const event = kind === "drop"
    ? new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true})
    : new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true});
  document.querySelector("h1").dispatchEvent(event);
}"""
# What the browser keeps of images, the oldest first; a database that is not there yet is left to the page.
KEPT = """() => new Promise((resolve) => {
  const name = "qwen-image-server sources";
  const opening = indexedDB.open(name);
  opening.onupgradeneeded = () => opening.transaction.abort();
  opening.onerror = () => resolve([]);
  opening.onsuccess = () => {
    const asked = opening.result.transaction(name).objectStore(name).getAll();
    opening.result.close();
    asked.onsuccess = () => {
      const kept = asked.result.sort((one, other) => one.at - other.at);
      resolve(kept.map(({ image, more, guide }) => (
        { images: [image, ...more].filter(Boolean).length, preprocessor: guide?.preprocessor, scale: guide?.scale }
      )));
    };
  };
})"""
FOREIGN = (
    "a foreign cat\nNegative prompt: dogs\nSteps: 7, Sampler: Euler a, CFG scale: 3.5, Seed: 18446744073709551614, "
)


def wait_until_kept(page, records, **last):
    """Wait until the browser keeps so many records of images, with such values in the last one."""
    deadline = time.monotonic() + 60
    # A condition that is a promise would be true at once.
    while len(kept := page.evaluate(KEPT)) != records or not last.items() <= kept[-1].items():
        assert time.monotonic() < deadline, kept
        page.wait_for_timeout(50)


def bring(page, data, *, kind="drop", name="image.png", media="image/png"):
    """Drop or paste a file on the page's title."""
    page.evaluate(DROP, {"kind": kind, "name": name, "type": media, "data": base64.b64encode(data).decode()})


def png(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def sent_by(page, prompt):
    """Press the button, and return what the server was sent and the image in it."""
    with page.expect_request(lambda request: request.method == "PUT") as sent:
        card = generate(page, prompt, Steps="2")
    body = sent.value.post_data_json
    expect(card).to_have_attribute("data-state", "done")
    return body, Image.open(io.BytesIO(base64.b64decode(body["image"].split(",")[1])))


@pytest.fixture
def ready(fake_server, opened):
    page = opened(fake_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    return page


def test_the_settings_of_our_own_image_make_the_same_image_again(demo_server, opened):
    fields = {"num_inference_steps": 5, "true_cfg_scale": 3, "seed": 77, "aspect_ratio": "s1:1", "add_overlay": False}
    loras = [{"name": "night", "scale": 0.5}]
    own = demo_server.generate("a red circle on a blue background", **fields, loras=loras).content
    page = opened(demo_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    bring(page, own)
    expect(page.locator("#choice-prompt")).to_have_text("a red circle on a blue background")
    page.get_by_role("button", name="Take its settings").click()
    expect(page.get_by_text("All settings of the image are in the form.")).to_be_visible()
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    page.get_by_role("button", name="Generate").click()
    card = page.locator(".card").first
    expect(card).to_have_attribute("data-state", "done")
    _, again = download(page, card)
    difference = ImageChops.difference(again.convert("RGB"), Image.open(io.BytesIO(own)).convert("RGB"))
    # Two runs of a guided image differ in rounding, by about one level of 255.
    assert max(high for _, high in difference.getextrema()) <= 2


def test_settings_of_another_program_are_used_and_the_unknown_ones_are_named(ready):
    texts = PngInfo()
    texts.add_text("parameters", f"{FOREIGN}Size: 77x99, Clip skip: 2, Lora hashes: none")
    bring(ready, png(Image.new("RGB", (8, 8)), pnginfo=texts), kind="paste")
    ready.get_by_role("button", name="Take its settings").click()
    expect(ready.get_by_label("Prompt", exact=True)).to_have_value("a foreign cat")
    expect(ready.get_by_label("Negative prompt")).to_have_value("dogs")
    expect(ready.get_by_label("Steps")).to_have_value("7")
    expect(ready.get_by_label("Guidance")).to_have_value("3.5")
    expect(ready.get_by_label("Seed", exact=True)).to_have_value("18446744073709551614")
    expect(ready.get_by_label("Exact width")).to_have_value("77")
    expect(ready.get_by_label("Exact height")).to_have_value("99")
    for unknown in ("Sampler: Euler a", "Clip skip: 2", "Lora hashes: none"):
        expect(ready.locator("#form-note")).to_contain_text(unknown)


def test_a_large_photo_is_turned_upright_and_scaled_down_before_it_is_sent(ready, fake_server):
    photo = Image.new("RGB", (4000, 3000), "red")
    photo.paste("blue", (0, 0, 4000, 1500))
    exif = Image.Exif()
    # Stored on its side: what is on top here is on the right.
    exif[0x0112] = 6
    file = io.BytesIO()
    photo.save(file, "JPEG", exif=exif)
    bring(ready, file.getvalue(), name="photo.jpg", media="image/jpeg")
    expect(ready.locator("#source-note")).to_contain_text("3000×4000, sent as ")
    _, sent = sent_by(ready, "a photo")
    limit = fake_server.get("/info").json()["input_limits"]["generated_pixels"]
    assert 0.98 * limit < sent.width * sent.height <= limit
    assert abs(sent.width / sent.height - 3 / 4) < 0.01
    left, right = (sent.getpixel((x, sent.height // 2)) for x in (sent.width // 4, 3 * sent.width // 4))
    assert (left[0] > 200, right[2] > 200) == (True, True)
    assert sent.getexif().get(0x0112) is None


@pytest.mark.parametrize(
    ("fit", "size", "corner"),
    [
        ("crop the image", (200, 100), "red"),
        ("extend its edges", (1024, 1024), "red"),
        ("stretch the image", (1024, 1024), "red"),
    ],
)
def test_an_image_of_another_shape_is_fitted_as_one_chooses(ready, fit, size, corner):
    wide = Image.new("RGB", (200, 100), "red")
    wide.paste("lime", (80, 0, 120, 100))
    bring(ready, png(wide))
    ready.get_by_role("radio", name="1:1 1328×1328").check()
    ready.get_by_label("If its shape is another").select_option(fit)
    body, sent = sent_by(ready, f"an image, {fit}")
    assert body["aspect_ratio"] == "1:1"
    shown = sent.convert("RGB")
    assert shown.size == (size if fit == "crop the image" else (shown.width, shown.width))
    assert shown.getpixel((0, 0)) == Image.new("RGB", (1, 1), corner).getpixel((0, 0))
    # How wide the band in the middle is, and that the edges reach the top where they were extended.
    band = sum(shown.getpixel((x, 0))[1] > 128 for x in range(shown.width)) / shown.width
    assert abs(band - 0.2) < 0.01


def test_an_image_that_is_too_large_even_when_compressed_is_refused_before_it_is_sent(fake_server, opened):
    page = opened(fake_server)
    alter_start(page, lambda start: start["info"]["input_limits"].update(mib=0.1))
    expect(page.get_by_label("Steps")).to_have_value("20")
    bring(page, png(noise(width=512, height=512)))
    expect(page.get_by_role("alert")).to_contain_text(" the server takes 0.1 MiB")
    expect(page.get_by_alt_text("The image to start from")).to_be_hidden()


def test_of_too_many_images_the_oldest_are_dropped_and_the_page_says_so(fake_server, opened):
    def keep_little(route):
        answer = route.fetch()
        script = answer.text()
        assert "256 * 2 ** 20" in script
        route.fulfill(response=answer, body=script.replace("256 * 2 ** 20", f"{len(large)} + 1000"))

    large, small = png(noise(width=256, height=256)), png(Image.new("RGB", (8, 8), "blue"))
    page = opened(fake_server)
    page.route("**/page.js", keep_little)
    page.reload()
    expect(page.get_by_label("Steps")).to_have_value("20")
    bring(page, large)
    card = generate(page, "from a large one", Steps="2")
    expect(card).to_have_attribute("data-state", "done")
    bring(page, small)
    card = generate(page, "from a small one", Steps="2")
    expect(card).to_have_attribute("data-state", "done")
    wait_until_kept(page, 3, images=1)
    page.reload()
    expect(page.locator(".card")).to_have_count(2)
    small, large = page.locator(".card").all()
    expect(small.get_by_role("button", name="Before and after")).to_be_visible()
    expect(large.locator(".warnings")).to_have_text("This browser no longer has the images that were sent with it.")
    expect(large.get_by_role("button", name="Before and after")).to_be_hidden()
    large.get_by_role("button", name="Again with this seed").click()
    expect(page.locator("#refusal")).to_have_text("The image to start from was not kept: choose it again.")


def test_a_browser_that_stores_no_images_sends_them_and_says_that_they_are_not_kept(fake_server, opened):
    page = opened(fake_server)
    page.add_init_script("IDBObjectStore.prototype.put = () => { throw new DOMException('', 'DataCloneError'); };")
    page.reload()
    expect(page.get_by_label("Steps")).to_have_value("20")
    bring(page, png(Image.new("RGB", (8, 8), "blue")))
    expect(generate(page, "from one that is not stored", Steps="2")).to_have_attribute("data-state", "done")
    page.wait_for_function("() => localStorage.getItem('qwen-image-server form images')?.includes('form ')")
    page.reload()
    expect(page.locator("#form-note")).to_have_text("The image to start from was not kept: choose it again.")


def test_what_is_not_an_image_is_said_where_one_looks(ready):
    ready.get_by_role("link", name="Gallery").click()
    bring(ready, b"text", name="notes.txt", media="text/plain")
    expect(ready.get_by_role("alert")).to_have_text("notes.txt is not an image.")
    expect(ready.get_by_role("alert")).to_be_in_viewport(ratio=1)
    expect(ready.get_by_alt_text("The image to start from")).to_be_hidden()


def test_a_damaged_image_is_refused_and_the_one_before_stays_with_its_mask(ready):
    bring(ready, png(Image.new("RGB", (200, 100), "red")))
    expect(ready.locator("#source-note")).to_have_text("200×100")
    ready.get_by_role("button", name="Mask and extend").click()
    ready.get_by_role("button", name="Invert").click()
    ready.get_by_role("button", name="Use this mask").click()
    expect(ready.get_by_role("button", name="Remove the mask")).to_be_visible()
    bring(ready, b"no pixels", name="broken.png")
    expect(ready.get_by_role("alert")).to_contain_text("The image is damaged")
    expect(ready.locator("#source-note")).to_have_text("200×100")
    expect(ready.get_by_role("button", name="Remove the mask")).to_be_visible()
    ready.get_by_role("button", name="Start without an image").click()
    bring(ready, b"no pixels", name="broken.png")
    expect(ready.get_by_role("alert")).to_contain_text("The image is damaged")
    expect(ready.get_by_alt_text("The image to start from")).to_be_hidden()


def test_the_prompt_and_its_button_stay_in_sight_and_a_word_says_how_the_model_is_told(fake_server, opened):
    page = opened(fake_server, viewport={"width": 1280, "height": 640})
    expect(page.get_by_label("Steps")).to_have_value("20")
    prompt, generating = page.get_by_label("Prompt", exact=True), page.get_by_role("button", name="Generate")
    hint = page.locator("#prompt-hint")
    expect(hint).to_be_hidden()
    bring(page, png(Image.new("RGB", (200, 100), "red")))
    expect(prompt).to_be_focused()
    expect(hint).to_contain_text("does not follow instructions")
    page.get_by_role("button", name="Mask and extend").click()
    page.get_by_role("button", name="Use this mask").click()
    expect(page.get_by_role("button", name="Remove the mask")).to_be_in_viewport(ratio=1)
    expect(prompt).to_be_focused()
    for each in (prompt, generating):
        expect(each).to_be_in_viewport(ratio=1)
    # Nothing lies over the button.
    generating.click(trial=True)
