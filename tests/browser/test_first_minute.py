"""The first minute in Chromium: prompts to click, and a form that begins with the prompt."""

import uuid

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_gallery import save
from tests.browser.test_page import download, generate, newest_job

SHAPES = """() => [...document.querySelectorAll("#shapes .shape")].map((shape) => {
  const { width, height } = shape.querySelector(".outline").getBoundingClientRect();
  return [shape.querySelector(".size").textContent, width / height];
})"""

TURBO = {
    "name": "z-image-turbo", "settings": "MODEL=z-image-turbo VAE_TILING=1", "download_gb": 32.9,
    "licence": "Apache-2.0", "alternatives": [],
}  # fmt: skip


def alter_start(page, change):
    """Open the page again with another answer of /page/start.json."""

    def answer(route):
        document = route.fetch().json()
        change(document)
        route.fulfill(json=document)

    page.route("**/page/start.json", answer)
    page.reload()


def test_a_prompt_is_clicked_generated_and_found_again(demo_server, opened):
    page = opened(demo_server)
    expect(page.get_by_text("qwen_image_server.py doctor")).to_be_visible()
    # Whether this machine's memory holds a real one.
    recommended = demo_server.get("/page/start.json").json()["recommended"]
    line = recommended["settings"] if recommended else "MODEL=auto"
    expect(page.get_by_text(f"{line} bash start_server.sh", exact=True)).to_be_visible()
    page.get_by_role("button", name="a red circle on a blue background").click()
    card = page.locator(".card").first
    expect(card).to_have_attribute("data-state", "done")
    _, image = download(page, card)
    red, _, blue = image.convert("RGB").resize((1, 1), Image.Resampling.BOX, (200, 200, 312, 312)).getpixel((0, 0))
    assert red > 150 > blue
    page.get_by_label("Prompt", exact=True).fill("")
    page.get_by_text("Recent prompts").click()
    page.locator("#recent-list").get_by_role("button").first.click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red circle on a blue background")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()


@pytest.mark.parametrize(
    ("device", "recommended", "sentence"),
    [
        (
            "cuda",
            TURBO,
            (
                "Real images on this graphics card (Some Card): z-image-turbo fits into its free memory. "
                "Its files (32.9 GB, licence Apache-2.0) are downloaded once."
            ),
        ),
        (
            "cpu",
            {"name": "sd-1.5", "settings": "MODEL=sd-1.5", "download_gb": 0, "licence": "", "alternatives": []},
            (
                "Real images on this machine, which has no suitable graphics card: "
                "sd-1.5 runs on its processor too, slowly."
            ),
        ),
        ("cuda", None, "No model for real images fits into the memory that is free here now."),
    ],
    ids=["card", "processor", "too small"],
)
def test_the_model_that_fits_the_card_is_named_with_the_line_that_starts_it(
    plain_server, opened, device, recommended, sentence
):
    def change(start):
        start["info"] |= {"model_name": "demo", "device": device, "gpu": "Some Card"}
        start["recommended"] = recommended

    page = opened(plain_server)
    alter_start(page, change)
    expect(page.locator("#demo-better")).to_have_text(sentence)
    settings = "MODEL=auto" if recommended is None else recommended["settings"]
    expect(page.locator("#demo-line")).to_have_text(f"{settings} bash start_server.sh")


def test_on_a_phone_the_results_come_first_before_an_image_and_after_it_and_a_button_leads_to_the_settings(
    plain_server, opened
):
    page = opened(plain_server, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    examples = page.locator("#examples button")
    expect(examples).to_have_count(3)
    for example in examples.all():
        expect(example).to_be_in_viewport(ratio=1)
    examples.first.click()
    expect(page.locator(".card")).to_have_attribute("data-state", "done")
    page.reload()
    expect(page.locator(".card")).to_have_attribute("data-state", "done")
    expect(page.locator(".card h3")).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Settings", exact=True).click()
    expect(page.locator("#styles")).to_be_in_viewport(ratio=1)
    # Without a keyboard and a mouse, nothing speaks of them.
    expect(page.locator("#help")).to_be_hidden()
    expect(page.locator("#source-hint")).to_be_hidden()


def test_help_on_better_models_stays_and_those_that_fit_are_offered_before_the_folded_rest(plain_server, opened):
    def change(start):
        start["info"] |= {"model_name": "demo", "device": "cpu"}
        start["recommended"] = TURBO | {"alternatives": ["sd-1.5"]}
        start["downloads"] = [{"id": name, "gb": 2.1, "licence": "free"} for name in ("large", "sd-1.5", TURBO["name"])]

    page = opened(plain_server)
    alter_start(page, change)
    page.get_by_text("Other models").click()
    expect(page.locator("#downloads-list .name")).to_have_text([TURBO["name"], "sd-1.5"])
    expect(page.locator("#downloads-rest .name")).to_have_text(["large"])
    expect(page.locator("#downloads-rest .name")).to_be_hidden()
    card = generate(page, "[step=0.1] a cat", Steps="2")
    expect(page.locator("#demo-better")).to_be_visible()
    # The list stays open in another language.
    page.locator("#language").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#demo-better")).to_be_visible()
    expect(card).to_have_attribute("data-state", "done")


def test_before_the_first_card_stand_the_last_images_of_the_gallery(plain_server, opened):
    prompt = f"found again {uuid.uuid4().hex}"
    save(plain_server, prompt)
    page = opened(plain_server)
    last = page.get_by_role("region", name="Last images").get_by_role("link")
    expect(last.first).to_have_accessible_name(prompt)
    expect(last.first.get_by_role("presentation")).to_have_js_property("naturalWidth", 320)
    card = generate(page, "[step=0.1] a cat", Steps="2")
    expect(last).to_have_count(0)
    expect(card).to_have_attribute("data-state", "done")
    card.get_by_role("button", name="Remove").click()
    # What was made meanwhile is the last one now.
    expect(last.first).to_have_accessible_name("[step=0.1] a cat")
    last.nth(1).click()
    expect(page.get_by_role("dialog", name="Image").locator("#details-prompt")).to_have_text(prompt)


def test_shapes_sliders_and_more_become_the_request(fake_server, opened):
    page = opened(fake_server, excused="422")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("20")
    sized = [(size.split("×"), ratio) for size, ratio in page.evaluate(SHAPES) if size]
    assert len(sized) >= 9
    for (width, height), ratio in sized:
        # A pixel of its frame more or less.
        assert ratio == pytest.approx(int(width) / int(height), rel=0.08)
    page.get_by_role("radio", name="9:16").check()
    page.get_by_role("radio", name="9:16").press("ArrowRight")
    expect(page.get_by_role("radio", name="4:3")).to_be_checked()
    page.locator("#num_inference_steps + input[type=range]").fill("3")
    with page.expect_request(lambda request: request.method == "PUT") as sent:
        card = generate(page, "一只猫")
    assert sent.value.post_data_json["language"] == "zh"
    expect(card).to_have_attribute("data-state", "done")
    job = newest_job(fake_server)
    assert (job["width"], job["height"], job["steps"]) == (1472, 1140, 3)
    page.get_by_text("More", exact=True).click()
    page.get_by_label("File format").select_option("webp")
    card = generate(page, "a cat", **{"Exact width": "320", "Exact height": "192"})
    expect(card).to_have_attribute("data-state", "done")
    _, image = download(page, card)
    assert (image.format, image.size) == ("WEBP", (320, 192))
    # What is out of sight does not win over the shape.
    page.get_by_role("radio", name="9:16").check()
    for side in ("Exact width", "Exact height"):
        expect(page.get_by_label(side)).to_have_value("")
    page.get_by_label("Exact width").fill("7")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_label("Exact width")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("width")
