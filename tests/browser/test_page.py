"""The web page as a person uses it, in Chromium."""

import io
import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.support.keys import ADMIN_KEY, USER_KEY

WATCH = """() => {
  window.seen = [];
  new MutationObserver((changes) => changes.forEach(({target}) => window.seen.push(target.dataset.state)))
    .observe(document.getElementById("results"), {subtree: true, attributes: true, attributeFilter: ["data-state"]});
}"""


def generate(page, prompt, **fields):
    """Fill the form, press the button, and return the new card."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    for label, value in fields.items():
        page.get_by_label(label, exact=True).fill(value)
    cards = page.locator(".card").count()
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".card")).to_have_count(cards + 1)
    return page.locator(".card").first


def number_of(card):
    return int(card.locator(".status").inner_text().split(" · ")[0].removeprefix("request "))


def download(page, card):
    with page.expect_download() as started:
        card.get_by_role("link", name="Download").click()
    return started.value.suggested_filename, Image.open(io.BytesIO(started.value.path().read_bytes()))


def newest_job(server):
    return server.get("/v1/jobs", params={"limit": 1}).json()["data"][0]


def test_an_image_is_previewed_and_generated(demo_server, opened):
    page = opened(demo_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    page.evaluate(WATCH)
    card = generate(page, "a red circle on a blue background", Steps="30")
    expect(card).to_have_attribute("data-state", "done")
    seen = page.evaluate("window.seen")
    assert "preview" in seen
    assert seen.index("preview") < seen.index("done")
    name, image = download(page, card)
    assert (image.format, image.size) == ("PNG", (512, 512))
    job = demo_server.get(f"/v1/jobs/{number_of(card)}").json()
    assert (job["steps"], job["state"]) == (30, "completed")
    expect(card.locator(".seed")).to_have_text(f"seed {job['seed']}")
    assert re.fullmatch(rf"Qwen-Image-\d{{8}}_\d{{6}}-req{job['id']}\.png", name)


def test_the_same_seed_again_and_an_image_to_start_from(demo_server, opened):
    page = opened(demo_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    card = generate(page, "a yellow star on a black background", Images="2")
    expect(card).to_have_attribute("data-state", "done")
    second = card.locator("figure").nth(1)
    seed = second.locator(".seed").inner_text().removeprefix("seed ")
    second.get_by_role("button", name="Again with this seed").click()
    expect(page.get_by_label("Seed", exact=True)).to_have_value(seed)
    expect(page.get_by_label("Images", exact=True)).to_have_value("1")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a yellow star on a black background")
    second.get_by_role("button", name="Start from this image").click()
    expect(page.get_by_alt_text("The image to start from")).to_be_visible()
    changed = generate(page, "a red star on a black background", Strength="0.5")
    expect(changed).to_have_attribute("data-state", "done")
    # Half of the steps are done: that is what the strength says.
    job = demo_server.get(f"/v1/jobs/{number_of(changed)}").json()
    assert (str(job["seed"]), job["total_steps"]) == (seed, 10)


def test_two_requests_run_side_by_side_and_one_is_cancelled(demo_server, opened):
    page = opened(demo_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    page.get_by_role("radio", name="16:9").check()
    long = generate(page, "a white house on green grass", Steps="150", Images="10")
    expect(long).to_have_attribute("data-state", "running")
    long_job = newest_job(demo_server)
    page.get_by_role("radio", name="1:1 small").check()
    generate(page, "a red circle on a blue background", Steps="4", Images="1")
    expect(page.locator(".card").first).to_have_attribute("data-state", "done")
    running = page.locator(".card").nth(1)
    assert demo_server.get(f"/v1/jobs/{long_job['id']}").json()["state"] == "processing"
    running.get_by_role("button", name="Cancel").click()
    expect(running.locator(".status")).to_have_text("Cancelled.")
    assert demo_server.get(f"/v1/jobs/{long_job['id']}").json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("label", "value", "fields"),
    [
        ("Steps", "1000", {"num_inference_steps": 1000}),
        ("Guidance", "51", {"true_cfg_scale": 51}),
        ("Images", "0", {"n": 0}),
        ("Prompt", "", {"prompt": ""}),
    ],
)
def test_a_wrong_value_shows_the_server_s_sentence_at_its_field(fake_server, opened, label, value, fields):
    page = opened(fake_server, excused="Failed to load resource")
    expect(page.get_by_label("Steps")).to_have_value("20")
    control = page.get_by_label(label, exact=True)
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Prompt", exact=True).fill("a cat")
    control.fill(value)
    page.get_by_role("button", name="Generate").click()
    sentence = fake_server.post({"prompt": "a cat", **fields}).json()["error"]
    expect(page.get_by_role("alert")).to_have_text(sentence)
    expect(control).to_have_attribute("aria-invalid", "true")
    expect(control).to_be_focused()
    expect(page.locator(".card")).to_have_count(0)


def test_a_refusal_of_what_the_model_has_no_field_for_is_shown_at_the_button(fake_server, opened):
    page = opened(fake_server, excused="Failed to load resource")
    expect(page.get_by_label("Steps")).to_have_value("20")
    refusal = {"error": "layers is not for this model.", "code": "invalid_parameter", "param": "layers"}
    page.route("**/v1/tasks/*", lambda route: route.fulfill(status=422, json=refusal))
    page.get_by_label("Prompt", exact=True).fill("a cat")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert")).to_have_text(refusal["error"])
    page.unroute_all()


def test_a_full_queue_shows_on_the_card_and_can_be_tried_again(fake_server, opened):
    page = opened(fake_server, excused="Failed to load resource")
    expect(page.get_by_label("Steps")).to_have_value("20")
    expect(generate(page, "a cat [step=0.5]", Steps="150")).to_have_attribute("data-state", "running")
    refused = generate(page, "a dog", Steps="2")
    expect(refused).to_have_attribute("data-state", "failed")
    sentence = fake_server.generate("a dog").json()["error"]
    assert refused.locator(".error").inner_text().split("(")[0] == sentence.split("(")[0]
    page.get_by_role("button", name="Cancel").click()
    fake_server.wait_until_idle()
    refused.get_by_role("button", name="Try again").click()
    expect(page.locator(".card[data-state=done] h3")).to_have_text("a dog")


def test_a_prompt_is_shown_as_text_and_large_seeds_stay_whole(fake_server, opened):
    page = opened(fake_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    page.get_by_label("random").uncheck()
    prompt = "<img src=x onerror=alert(1)> <b>cat</b>"
    card = generate(page, prompt, Steps="2", Seed="18446744073709551614")
    expect(card.locator("h3")).to_have_text(prompt)
    expect(card.locator(".seed")).to_have_text("seed 18446744073709551614")
    # A link without a seed asks for a random one.
    page.evaluate("location.hash = 'prompt=a+linked+cat'")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a linked cat")
    expect(page.get_by_label("random")).to_be_checked()


def test_a_key_is_asked_for_and_forgotten_with_the_tab(keyed_server, opened):
    page = opened(keyed_server, excused="401")
    expect(page.get_by_text("This server requires an API key.")).to_be_visible()
    for key in ("wrong", ADMIN_KEY):
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Use this key").click()
        if key == "wrong":
            expect(page.get_by_text("The API key is wrong.")).to_be_visible()
    expect(page.get_by_label("Steps")).to_have_value("20")
    expect(page.get_by_label("API key")).to_be_hidden()
    expect(generate(page, "a cat", Steps="2")).to_have_attribute("data-state", "done")
    kept = page.evaluate("JSON.stringify(localStorage) + document.cookie")
    assert "a cat" in kept
    assert ADMIN_KEY not in kept
    assert ADMIN_KEY not in page.url
    page.reload()
    # The form and the key are this tab's.
    expect(page.get_by_label("Steps")).to_have_value("2")
    expect(page.get_by_label("API key")).to_be_hidden()


def test_it_says_that_the_model_loads_and_accepts_requests_meanwhile(start, opened):
    server = start(ready=False, FAKE_LOAD="4")
    page = opened(server)
    expect(page.locator("#state")).to_contain_text("The model is loading.")
    expect(page.get_by_role("progressbar", name="Loading the model")).to_have_js_property("value", 0.5)
    card = generate(page, "a cat", Steps="2")
    expect(card).to_have_attribute("data-state", "queued")
    expect(card).to_have_attribute("data-state", "done")
    expect(page.locator("#state")).to_contain_text("fake on cpu")
    expect(page.locator("#load")).to_be_hidden()


def test_it_fits_a_phone_every_control_has_a_name_and_loras_apply(demo_server, opened):
    page = opened(demo_server, viewport={"width": 360, "height": 740}, color_scheme="dark")
    expect(page.get_by_label("Steps")).to_have_value("20")
    page.get_by_role("checkbox", name="night").check()
    page.get_by_label("Scale of night").fill("0.5")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    controls = "[...document.querySelectorAll('input, select, textarea')].filter((each) => !each.ariaHidden)"
    nameless = f"{controls}.filter((each) => !each.labels.length && !each.ariaLabel).map((each) => each.outerHTML)"
    assert page.evaluate(nameless) == []
    page.get_by_label("Prompt", exact=True).fill("a green square")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".card")).to_have_attribute("data-state", "done")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    _, image = download(page, page.locator(".card"))
    assert 'Loras: "night:0.5"' in image.text["parameters"]


def test_another_model_is_chosen_for_requests_and_becomes_the_default_one_only_by_a_button(models_server, opened):
    page = opened(models_server, excused="422")
    choice, steps = page.get_by_label("Model", exact=True), page.get_by_label("Steps", exact=True)
    expect(steps).to_have_value("20")
    choice.select_option("tiny-sd")
    expect(page.get_by_text("It was not loaded here before")).to_be_visible()
    expect(steps).to_have_value("")
    card = generate(page, "a red circle")
    expect(card).to_have_attribute("data-state", "done")
    expect(card.locator(".status")).to_contain_text(" · tiny-sd · 128×64")
    # What it can do is known now.
    expect(steps).to_have_value("3")
    expect(page.get_by_text("It was not loaded here before")).to_be_hidden()
    page.reload()
    expect(choice).to_have_value("tiny-sd")
    expect(steps).to_have_value("3")
    choice.select_option("demo")
    expect(steps).to_have_value("20")
    card.get_by_role("button", name="Again with this seed").click()
    expect(choice).to_have_value("tiny-sd")
    assert models_server.health()["generator_info"]["model_id"] == "demo"
    button = page.get_by_role("button", name="Make it the default model")
    button.click()
    expect(button).to_be_hidden()
    assert models_server.health()["generator_info"]["model_id"] == "tiny-sd"
    choice.select_option("broken")
    button.click()
    expect(page.get_by_text("broken cannot be loaded")).to_be_visible()
    expect(choice).to_be_enabled()


def test_a_user_chooses_a_model_but_no_default_one(keyed_server, opened):
    for key, count in {USER_KEY: 0, ADMIN_KEY: 1}.items():
        page = opened(keyed_server, excused="401")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Use this key").click()
        page.get_by_label("Model", exact=True).select_option("demo")
        expect(page.get_by_text("For what you send from here. The default model is fake.")).to_be_visible()
        expect(page.get_by_role("button", name="Make it the default model")).to_have_count(count)


def test_with_one_model_there_is_nothing_to_choose(start, opened):
    page = opened(start(ready=False, MODEL_LOADING="off"))
    expect(page.get_by_label("Prompt", exact=True)).to_be_visible()
    expect(page.get_by_label("Steps")).to_have_value("20")
    expect(page.get_by_label("Model", exact=True)).to_be_hidden()
