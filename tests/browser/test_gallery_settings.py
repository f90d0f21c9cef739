"""What goes from the gallery back into the form, exactly, and what its undo says when it comes too late."""

import io
import re
import uuid

import pytest
import requests
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_first_minute import alter_start
from tests.browser.test_gallery import save
from tests.browser.test_image_edits import sent_with

# One of those of the server.
LORA = "paper"


@pytest.fixture
def word(plain_server):
    """A word of the prompts of one test, and its images, the last one larger."""
    word = f"w{uuid.uuid4().hex}"
    save(plain_server, f"{word} one", size="128x64")
    options = {"output_format": "webp", "output_compression": 70, "seed": 7, "language": "zh"}
    save(plain_server, f"{word} 两只猫", size="200x328", **options)
    return word


def show(page, word):
    """Show the images of a test, the newest first."""
    page.get_by_role("link", name="Gallery").click()
    page.get_by_label("Search prompts").fill(word)
    expect(page.locator(".tile")).to_have_count(2)
    return page.locator(".tile")


def test_a_size_that_has_no_name_goes_into_the_form_exactly(plain_server, opened, word):
    page = opened(plain_server)
    show(page, word).first.locator(".open").click()
    page.get_by_role("button", name="Use size").click()
    expect(page.get_by_label("Exact width")).to_have_value("200")
    expect(page.get_by_label("Exact height")).to_be_visible()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("20")
    expect(page.locator("#shapes :checked")).to_have_count(0)
    # A size that has a name takes the place of an exact one.
    page.get_by_role("radio", name="1:1 small").check()
    expect(page.get_by_label("Exact width")).to_have_value("")


def test_all_settings_make_the_same_file_again(plain_server, opened, word):
    page = opened(plain_server)
    show(page, word).first.locator(".open").click()
    page.get_by_role("button", name="Use all").click()
    expect(page.get_by_label("File format")).to_have_value("webp")
    expect(page.get_by_label("Quality of the file")).to_have_value("70")
    expect(page.locator("#refusal")).to_have_text("")
    body = sent_with(page, page.get_by_role("button", name="Generate", exact=True).click)
    assert (body["model"], body["language"]) == ("fake", "zh")
    asked = ("width", "height", "output_format", "output_compression", "scheduler", "seed")
    assert [body[name] for name in asked] == [200, 328, "webp", 70, "FakeScheduler", 7]
    first, again = plain_server.get(f"/v1/gallery?q={word}").json()["data"][:2]
    images = [Image.open(io.BytesIO(requests.get(item["url"], timeout=30).content)) for item in (first, again)]
    assert [(image.format, image.size) for image in images] == 2 * [("WEBP", (200, 328))]
    assert images[0].tobytes() == images[1].tobytes()
    # What png would ignore is not sent.
    page.get_by_label("File format").select_option("png")
    expect(page.get_by_label("Quality of the file")).to_be_hidden()
    body = sent_with(page, page.get_by_role("button", name="Generate", exact=True).click)
    assert body.keys().isdisjoint({"output_format", "output_compression"})


def fill_form(page, follows):
    """Fill the form from the large image: by its button, or by following its link."""
    dialog = page.get_by_role("dialog", name="Image")
    if follows:
        page.goto(dialog.get_by_role("link", name="Copy settings link").evaluate("(link) => link.href"))
    else:
        dialog.get_by_role("button", name="Use all").click()


def test_an_image_of_another_model_chooses_it_and_its_link_does_too(plain_server, opened, word):
    page = opened(plain_server)

    def say_other(route):
        answer = re.sub('("model": *)"fake"', r'\1"other"', route.fetch().text())
        route.fulfill(body=answer, content_type="application/json")

    page.route("**/v1/gallery?**", say_other)
    answer = {"details": None, "enhance": False, "loaded": True}
    page.route("**/v1/models/other", lambda route: route.fulfill(json=answer))
    alter_start(page, lambda start: start["models"].append({"id": "other", "loaded": True}))
    choice = page.get_by_label("Model", exact=True)
    expect(choice).to_have_value("fake")
    for follows in (False, True):
        show(page, word).first.locator(".open").click()
        fill_form(page, follows)
        expect(choice).to_have_value("other")
        expect(page.get_by_label("Seed", exact=True)).to_have_value("7")
        choice.select_option("fake")
    expect(page.locator("#gallery-total")).to_contain_text("2 of ")
    # The last search may still be on its way.
    page.unroute_all(behavior="wait")


def test_what_the_form_has_no_field_for_is_named_and_no_link_leaves_it_out(plain_server, opened, word):
    save(plain_server, f"{word} large", size="128x64", upscale=2)
    page = opened(plain_server)
    page.get_by_role("link", name="Gallery").click()
    page.get_by_label("Search prompts").fill(f"{word} large")
    expect(page.locator(".tile")).to_have_count(1)
    page.locator(".tile .open").click()
    expect(page.locator("#details-link")).to_be_hidden()
    expect(page.get_by_role("dialog", name="Image").get_by_text("No settings link: ")).to_be_visible()
    page.get_by_role("button", name="Use all").click()
    expect(page.locator("#form-note")).to_contain_text("except: upscale_steps: 2; upscale_strength: 0.35.")
    expect(page.get_by_label("Enlarge by factor")).to_have_value("2")


def test_emphasis_and_determinism_go_into_the_form_and_into_the_link_and_a_lora_that_is_gone_is_named(
    plain_server, opened, word
):
    settings = {"emphasis": True, "deterministic": True, "loras": [{"name": LORA, "scale": 0.5}]}
    save(plain_server, f"{word} (large:1.2)", **settings)
    page = opened(plain_server)
    alter_start(page, lambda start: start.update(loras=[]))
    for follows in (False, True):
        page.get_by_role("link", name="Gallery").click()
        page.get_by_label("Search prompts").fill(f"{word} (large")
        expect(page.locator(".tile")).to_have_count(1)
        page.locator(".tile .open").click()
        fill_form(page, follows)
        expect(page.locator("#form-note")).to_contain_text(f"except: LoRA: {LORA}.")
        for switch in ("Weights in brackets", "The same to the last bit"):
            expect(page.get_by_label(switch)).to_be_checked()
            page.get_by_label(switch).evaluate("(input) => { input.checked = false; }")


def test_undo_says_how_many_images_could_not_be_had_back(plain_server, opened, word):
    page = opened(plain_server, excused="404")
    tiles = show(page, word)
    for index in (0, 1):
        tiles.nth(index).get_by_role("checkbox").check()
    page.get_by_role("button", name="Delete").click()
    expect(tiles).to_have_count(0)
    # As where the minute is over for one of them.
    page.route("**/v1/gallery/*", lambda route: route.fulfill(status=404, json={}), times=1)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("1 image could not be had back.")).to_be_visible()
    expect(tiles).to_have_count(1)
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()
