"""The first minute in Chromium: prompts to click, and a form that begins with the prompt."""

from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_page import download, generate, newest_job


def test_a_prompt_is_clicked_generated_and_found_again(demo_server, opened):
    page = opened(demo_server)
    expect(page.get_by_text("qwen_image_server.py doctor")).to_be_visible()
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


def test_shapes_sliders_and_more_become_the_request(fake_server, opened):
    page = opened(fake_server, excused="422")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("20")
    page.get_by_role("radio", name="9:16").check()
    page.get_by_role("radio", name="9:16").press("ArrowRight")
    expect(page.get_by_role("radio", name="4:3")).to_be_checked()
    page.locator("#num_inference_steps + input[type=range]").fill("3")
    expect(generate(page, "一只猫")).to_have_attribute("data-state", "done")
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
