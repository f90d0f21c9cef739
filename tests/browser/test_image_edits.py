"""What a finished image becomes on the page: changed, varied, enlarged, or seen beside others, in Chromium."""

import base64
import io

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_page import download, generate
from tests.browser.test_sent_images import bring, png


@pytest.fixture(scope="module")
def editing_server(start):
    """A server whose model edits, and sees three images."""
    return start(FAKE_KINDS="text,image,inpaint,edit", FAKE_MAX_IMAGES="3")


def sent_with(page, action):
    """Return the body of the request that an action leads to, once its card is done."""
    cards = page.locator(".card").count()
    with page.expect_request(lambda request: request.method == "PUT") as sent:
        action()
    expect(page.locator(".card")).to_have_count(cards + 1)
    expect(page.locator(".card").first).to_have_attribute("data-state", "done")
    return sent.value.post_data_json


def pixels(data_url):
    return Image.open(io.BytesIO(base64.b64decode(data_url.split(",")[1]))).convert("RGB").tobytes()


def test_a_chain_of_instructions_edits_the_last_image_each_time(editing_server, opened):
    page = opened(editing_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    card = generate(page, "一只猫", Steps="2")
    for instruction in ("make it blue", "and larger"):
        expect(card).to_have_attribute("data-state", "done")
        _, image = download(page, card)
        box = card.get_by_label("What to change in this image")
        box.fill(instruction)
        body = sent_with(page, lambda box=box: box.press("Enter"))
        assert (body["prompt"], body["num_inference_steps"], body["n"]) == (instruction, 2, 1)
        # The language of the first prompt is not that of the instruction.
        assert "language" not in body
        assert pixels(body["image"]) == image.convert("RGB").tobytes()
        card = page.locator(".card").first


def test_four_variations_start_from_the_image_with_its_seed_or_without(editing_server, opened):
    page = opened(editing_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    card = generate(page, "a dog", Steps="2")
    expect(card).to_have_attribute("data-state", "done")
    seed = int(card.locator(".seed").inner_text().removeprefix("seed "))
    card.get_by_text("Variations").click()
    body = sent_with(page, card.get_by_role("button", name="Generate four").click)
    assert (body["n"], body["strength"], body["seed"]) == (4, 0.35, None)
    expect(page.locator(".card").first.locator("figure")).to_have_count(4)
    card = page.locator(".card").nth(1)
    card.get_by_label("How much changes").select_option("a lot")
    card.get_by_label("same seed").check()
    body = sent_with(page, card.get_by_role("button", name="Generate four").click)
    assert (body["strength"], body["seed"]) == (0.7, seed)


def test_further_images_go_with_the_first_one_up_to_what_the_model_sees(editing_server, opened):
    page = opened(editing_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    expect(page.get_by_label("Add an image")).to_be_hidden()
    files = [png(Image.new("RGB", (64, 64), colour)) for colour in ("red", "lime", "blue", "white")]
    bring(page, files[0])
    page.get_by_label("Add an image").set_input_files(
        [{"name": f"{index}.png", "mimeType": "image/png", "buffer": file} for index, file in enumerate(files[1:])]
    )
    expect(page.locator("#references img")).to_have_count(2)
    expect(page.get_by_label("Add an image")).to_be_disabled()
    page.get_by_role("button", name="Remove Image 2").click()
    expect(page.get_by_label("Add an image")).to_be_enabled()
    page.get_by_label("Prompt", exact=True).fill("both")
    body = sent_with(page, page.get_by_role("button", name="Generate", exact=True).click)
    assert [pixels(each)[:3] for each in body["image"]] == [b"\xff\0\0", b"\0\0\xff"]


def test_before_and_after_are_compared_with_a_slider(editing_server, opened):
    page = opened(editing_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    bring(page, png(Image.new("RGB", (64, 64), "red")))
    card = generate(page, "a blue cat", Steps="2")
    expect(card).to_have_attribute("data-state", "done")
    card.get_by_role("button", name="Before and after").click()
    slider = page.get_by_role("slider", name="Share of the first image")
    expect(slider).to_be_focused()
    for name in ("The image before", "a blue cat"):
        shown = page.get_by_role("dialog").get_by_alt_text(name, exact=True)
        assert shown.evaluate("async (image) => { await image.decode(); return image.naturalWidth; }") == 64
    slider.fill("80")
    assert "80%" in page.locator("#comparison-over").evaluate("(image) => image.style.clipPath")
    page.keyboard.press("Escape")
    expect(card.get_by_role("button", name="Before and after")).to_be_focused()


def test_an_image_guides_another_through_the_controlnet(start, opened):
    page = opened(start(FAKE_KINDS="text,image,control,control-image"))
    expect(page.get_by_label("Steps")).to_have_value("20")
    guide = png(Image.new("RGB", (512, 512), "lime"))
    page.get_by_label("Guiding image").set_input_files({"name": "guide.png", "mimeType": "image/png", "buffer": guide})
    page.get_by_label("How it is used").select_option("its edges")
    page.get_by_label("Influence").fill("0.6")
    page.get_by_label("Prompt", exact=True).fill("a house")
    body = sent_with(page, page.get_by_role("button", name="Generate", exact=True).click)
    assert pixels(body["control_image"])[:3] == b"\0\xff\0"
    assert (body["control_preprocessor"], body["controlnet_conditioning_scale"]) == ("canny", 0.6)
    assert "image" not in body


def test_an_image_is_enlarged_twice_and_there_is_no_box_for_a_model_that_does_not_edit(demo_server, opened):
    page = opened(demo_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    page.get_by_role("radio", name="s1:1").check()
    card = generate(page, "a green square", Steps="4")
    expect(card).to_have_attribute("data-state", "done")
    expect(card.get_by_label("What to change in this image")).to_be_hidden()
    _, small = download(page, card)
    card.get_by_role("button", name="Enlarge 2×").click()
    expect(page.locator(".card")).to_have_count(2)
    expect(page.locator(".card").first).to_have_attribute("data-state", "done")
    _, large = download(page, page.locator(".card").first)
    assert (small.size, large.size) == ((512, 512), (1024, 1024))
    difference = [abs(one - other) for one, other in zip(
        small.convert("RGB").resize((8, 8), Image.Resampling.BOX).tobytes(),
        large.convert("RGB").resize((8, 8), Image.Resampling.BOX).tobytes(), strict=True,
    )]  # fmt: skip
    # The same image: its seed, its prompt and its composition.
    assert sum(difference) / len(difference) < 40
