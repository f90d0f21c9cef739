"""What a finished image becomes on the page: changed, varied, enlarged, or seen beside others, in Chromium."""

import base64
import io
import json
import subprocess
import sys
import uuid

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_gallery import save
from tests.browser.test_page import download, generate
from tests.browser.test_sent_images import bring, png, wait_until_kept

GREEN = png(Image.new("RGB", (512, 512), "lime"))
GUIDE = base64.b64encode(GREEN).decode()
START = base64.b64encode(png(Image.new("RGB", (512, 512), "red"))).decode()


@pytest.fixture(scope="module")
def editing_server(start):
    """A server whose model edits, sees eleven images and improves prompts."""
    return start(FAKE_KINDS="text,image,inpaint,edit", FAKE_MAX_IMAGES="11", FAKE_ENHANCES="1")


@pytest.fixture(scope="module")
def guided_server(start):
    """A server whose model is guided by other images."""
    return start(FAKE_KINDS="text,image,control,control-image")


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
    boxes = [figure.bounding_box() for figure in page.locator(".card").first.locator("figure").all()]
    (left, right), (top, bottom) = ([boxes[index][side] for index in (0, 3)] for side in ("x", "y"))
    assert [(box["x"], box["y"]) for box in boxes] == [(left, top), (right, top), (left, bottom), (right, bottom)]
    assert left < right
    assert top < bottom
    card = page.locator(".card").nth(1)
    card.get_by_label("How much changes").select_option("a lot")
    card.get_by_label("same seed").check()
    body = sent_with(page, card.get_by_role("button", name="Generate four").click)
    assert (body["strength"], body["seed"]) == (0.7, seed)


def test_further_images_go_with_the_first_one_up_to_what_the_model_sees(editing_server, opened):
    page = opened(editing_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    expect(page.get_by_label("Add an image")).to_be_hidden()
    files = [png(Image.new("RGB", (64, 64), (20 * number, 0, 0))) for number in range(12)]
    bring(page, files[0])
    expect(page.locator("#prompt-hint")).to_contain_text("Say what to change")
    page.get_by_label("Add an image").set_input_files(
        [{"name": f"{index}.png", "mimeType": "image/png", "buffer": file} for index, file in enumerate(files[1:])]
    )
    expect(page.locator("#references img")).to_have_count(10)
    expect(page.get_by_label("Add an image")).to_be_disabled()
    page.get_by_role("button", name="Remove Image 2", exact=True).click()
    expect(page.get_by_label("Add an image")).to_be_enabled()
    page.get_by_label("Prompt", exact=True).fill("both")
    body = sent_with(page, page.locator("#generate").click)
    assert [pixels(each)[0] for each in body["image"]] == [0, *range(40, 201, 20)]


def test_the_images_of_the_form_outlive_the_page_and_are_those_of_the_next_tab(editing_server, opened):
    def colours(page):
        body = sent_with(page, page.locator("#generate").click)
        return [pixels(each)[:3] for each in (*body["image"], body["mask"])]

    page = opened(editing_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    bring(page, GREEN)
    page.get_by_role("button", name="Mask and extend").click()
    page.get_by_role("button", name="Invert").click()
    page.get_by_role("button", name="Use this mask").click()
    blue = {"name": "blue.png", "mimeType": "image/png", "buffer": png(Image.new("RGB", (64, 64), "blue"))}
    page.get_by_label("Add an image").set_input_files(blue)
    page.get_by_label("Prompt", exact=True).fill("both")
    expect(page.locator("#references img")).to_have_count(1)
    wait_until_kept(page, 1, images=2)
    page.reload()
    expect(page.get_by_role("button", name="Remove the mask")).to_be_visible()
    assert colours(page) == [b"\0\xff\0", b"\0\0\xff", b"\xff\xff\xff"]
    wait_until_kept(page, 3, images=2)
    # As where the browser was started again.
    other = page.context.new_page()
    page.close()
    other.goto(editing_server.url)
    expect(other.locator("#references img")).to_have_count(1)
    expect(other.locator(".card")).to_have_count(1)
    assert colours(other) == [b"\0\xff\0", b"\0\0\xff", b"\xff\xff\xff"]
    other.get_by_role("button", name="Start without an image").click()
    other.wait_for_function("() => sessionStorage.getItem('qwen-image-server form images') === 'null'", timeout=60_000)
    other.reload()
    expect(other.locator(".card .compare:visible")).to_have_count(2)
    expect(other.get_by_alt_text("The image to start from")).to_be_hidden()


def test_before_and_after_are_compared_with_a_slider(editing_server, opened):
    page = opened(editing_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    bring(page, png(Image.new("RGB", (64, 64), "red")))
    card = generate(page, "a blue cat", Steps="2")
    expect(card).to_have_attribute("data-state", "done")
    expect(card.get_by_role("link", name="Copy settings link")).to_be_hidden()
    expect(card.get_by_text("No settings link: ")).to_be_visible()
    card.get_by_role("button", name="Before and after").click()
    slider = page.get_by_role("slider", name="Share of the first image")
    expect(slider).to_be_focused()
    for name in ("The image before", "a blue cat"):
        shown = page.get_by_role("dialog").get_by_alt_text(name, exact=True)
        assert shown.evaluate("async (image) => { await image.decode(); return image.naturalWidth; }") == 64
    for place, caption in (("first", "The image before"), ("second", "The image after")):
        expect(page.locator(f"#comparison-{place}")).to_have_text(caption)
    slider.fill("80")
    assert "80%" in page.locator("#comparison-over").evaluate("(image) => image.style.clipPath")
    page.keyboard.press("Escape")
    expect(card.get_by_role("button", name="Before and after")).to_be_focused()
    told = card.locator(".status").inner_text()
    assert "ms a step" in told
    page.reload()
    card = page.locator(".card").first
    expect(card.locator(".status")).to_have_text(told)
    expect(card.get_by_role("button", name="Enlarge 2×")).to_be_visible()
    card.get_by_role("button", name="Before and after").click()
    before = page.get_by_role("dialog").get_by_alt_text("The image before")
    assert before.evaluate("async (image) => { await image.decode(); return image.naturalWidth; }") == 64


def test_an_image_guides_another_through_the_controlnet(guided_server, opened):
    page = opened(guided_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    # Its model does not inpaint.
    bring(page, GREEN)
    expect(page.get_by_alt_text("The image to start from")).to_be_visible()
    expect(page.get_by_role("button", name="Mask and extend")).to_be_hidden()
    page.get_by_role("button", name="Start without an image").click()
    page.get_by_label("Guiding image").set_input_files({"name": "guide.png", "mimeType": "image/png", "buffer": GREEN})
    page.get_by_label("How it is used").select_option("its edges")
    page.get_by_label("Influence").fill("0.6")
    page.get_by_label("Prompt", exact=True).fill("a house")
    wait_until_kept(page, 1, preprocessor="canny", scale=0.6)
    page.reload()
    expect(page.get_by_alt_text("The image that guides")).to_be_visible()
    body = sent_with(page, page.locator("#generate").click)
    assert pixels(body["control_image"])[:3] == b"\0\xff\0"
    assert (body["control_preprocessor"], body["controlnet_conditioning_scale"]) == ("canny", 0.6)
    assert "image" not in body


def test_use_all_of_guided_images_takes_what_the_form_has_and_says_the_rest(guided_server, opened):
    word = f"w{uuid.uuid4().hex}"
    one = {"control_image": GUIDE, "controlnet_conditioning_scale": 0.6, "control_guidance_end": 0.5}
    several = {"controls": [{"image": GUIDE}, {"image": GUIDE, "scale": 0.4}]}
    for guides in (several, one):
        save(guided_server, f"{word} a (red:1.2) house", emphasis=True, deterministic=True, **guides)
    page = opened(guided_server)
    lost = "images sent with it, which are not kept"
    for index, said, scale in (
        (1, f"{lost}: controls.", 1),
        (0, f"control_guidance_end: 0.5; control_guidance_start: 0; {lost}: control_image.", 0.6),
    ):
        page.get_by_role("link", name="Gallery").click()
        page.get_by_label("Search prompts").fill(word)
        expect(page.locator(".tile")).to_have_count(2)
        page.locator(".tile .open").nth(index).click()
        page.get_by_role("button", name="Use all").click()
        expect(page.locator("#form-note")).to_have_text(f"The settings of the image are in the form, except: {said}")
        expect(page.locator("#refusal")).to_have_text("")
        chosen = {"name": "guide.png", "mimeType": "image/png", "buffer": GREEN}
        page.get_by_label("Guiding image").set_input_files(chosen)
        expect(page.get_by_label("Influence")).to_have_value(str(scale))
    body = sent_with(page, page.locator("#generate").click)
    asked = [body[name] for name in ("prompt", "emphasis", "deterministic", "controlnet_conditioning_scale")]
    assert asked == [f"{word} a (red:1.2) house", True, True, 0.6]


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        ({"image": START, "mask": GUIDE, "loras": [], "negative_prompt": "it's a $dog"}, ["image", "mask"]),
        ({"control_image": GUIDE}, ["control_image"]),
        ({"controls": [{"image": GUIDE}, {"image": START}]}, ["controls"]),
    ],
    ids=lambda value: "+".join(value),
)
def test_what_is_copied_says_which_images_it_lacks_and_makes_the_image_again_with_them(
    editing_server, guided_server, opened, tmp_path, inputs, names
):
    word = f"w{uuid.uuid4().hex}"
    server = editing_server if "image" in inputs else guided_server
    name = save(server, f"{word} \"a\" 'b' `c`", seed=2**63, **inputs)
    first = server.get(f"/v1/gallery?q={word}").json()["data"][0]
    page = opened(server)
    page.evaluate(f"location.hash = 'gallery/{name}'")
    for number, each in enumerate(inputs.get("controls", ()), 1):
        (tmp_path / f"sent_controls_{number}.png").write_bytes(base64.b64decode(each["image"]))
        (tmp_path / "sent_controls.json").write_text(json.dumps(inputs["controls"]))
    for each in {"image", "mask", "control_image"} & inputs.keys():
        (tmp_path / f"sent_{each}.png").write_bytes(base64.b64decode(inputs[each]))
    for button, program in (("Copy as curl", ["bash", "-c"]), ("Copy as Python", [sys.executable, "-c"])):
        page.get_by_role("button", name=button).click()
        written = page.get_by_label("The request as text").input_value()
        assert written.startswith(f"# The server does not keep the images that were sent with it: {', '.join(names)}.")
        for each in names:
            assert f"sent_{each}" in written
        ended = subprocess.run([*program, written], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        with Image.open(tmp_path / "image.png") as image:
            image.load()
            again = json.loads(image.info["generation"])
        assert again["inputs"] == names
        assert again["request"] == first["settings"]
        (tmp_path / "image.png").unlink()


def test_an_image_is_enlarged_twice_and_there_is_no_box_for_a_model_that_does_not_edit(demo_server, opened):
    page = opened(demo_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    page.get_by_role("radio", name="1:1 small").check()
    card = generate(page, "a green square", Steps="4")
    expect(card).to_have_attribute("data-state", "done")
    expect(card.get_by_label("What to change in this image")).to_be_hidden()
    _, small = download(page, card)
    card.get_by_role("button", name="Enlarge 2×").click()
    expect(page.locator(".card")).to_have_count(2)
    expect(page.locator(".card").first).to_have_attribute("data-state", "done")
    _, large = download(page, page.locator(".card").first)
    assert (small.size, large.size) == ((512, 512), (1024, 1024))
    enlarged = page.locator(".card").first
    expect(enlarged.locator(".status")).to_contain_text("1024×1024")
    expect(enlarged.get_by_text("No settings link: ")).to_be_hidden()
    link = enlarged.get_by_role("link", name="Copy settings link").get_attribute("href")
    again = enlarged.get_by_role("button", name="Again with this seed")
    for fill in (again.click, lambda: page.goto(f"{demo_server.url}/{link}")):
        page.get_by_label("Enlarge by factor").evaluate("(input) => { input.value = ''; }")
        fill()
        # In sight, though it is one of the settings that are folded.
        expect(page.get_by_label("Enlarge by factor")).to_have_value("2")
        expect(page.get_by_label("Enlarge by factor")).to_be_visible()
    page.get_by_role("button", name="Generate", exact=True).click()
    # The same image: it was kept.
    expect(page.locator(".card").first.locator(".status")).to_contain_text("from the cache")
    difference = [abs(one - other) for one, other in zip(
        small.convert("RGB").resize((8, 8), Image.Resampling.BOX).tobytes(),
        large.convert("RGB").resize((8, 8), Image.Resampling.BOX).tobytes(), strict=True,
    )]  # fmt: skip
    # The same image: its seed, its prompt and its composition.
    assert sum(difference) / len(difference) < 40


def test_an_improved_prompt_stands_on_the_card_and_makes_the_image_again_without_being_improved(editing_server, opened):
    page = opened(editing_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    page.get_by_label("Improve the prompt").check()
    with page.expect_request(lambda request: request.method == "PUT") as sent:
        card = generate(page, "an owl", Steps="2")
    assert sent.value.post_data_json["enhance"] is True
    expect(card).to_have_attribute("data-state", "done")
    expect(card.locator(".revised")).to_have_text("Improved prompt: a better an owl")
    card.get_by_role("button", name="Again with this seed").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a better an owl")
    expect(page.get_by_label("Improve the prompt")).not_to_be_checked()
    assert "a+better+an+owl" in card.get_by_role("link", name="Link").get_attribute("href")


def test_an_improved_prompt_and_the_language_of_one_that_was_filled_in_outlive_a_reload(editing_server, opened):
    page = opened(editing_server, excused="404")
    expect(page.get_by_label("Steps")).to_have_value("20")
    page.get_by_label("Improve the prompt").check()
    card = generate(page, "a sign that says 欢迎", Steps="2")
    expect(card.locator(".revised")).to_have_text("Improved prompt: a better a sign that says 欢迎")
    # The link of a prompt that was written in English, whatever is in it.
    link = card.get_by_role("link", name="Link").get_attribute("href")
    page.goto(f"{editing_server.url}/{link}&language=en")
    expect(page.locator("#random")).not_to_be_checked()
    # As where the server has forgotten the job.
    page.route("**/v1/jobs/*", lambda route: route.fulfill(status=404, json={}))
    page.reload()
    expect(page.locator(".card .revised")).to_have_text("Improved prompt: a better a sign that says 欢迎")
    page.unroute_all()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a better a sign that says 欢迎")
    assert "language" not in sent_with(page, page.locator("#generate").click)


def test_a_page_that_nobody_saw_meanwhile_shows_the_improved_prompt(editing_server, opened):
    page = opened(editing_server, excused="ERR_FAILED")
    expect(page.get_by_label("Steps")).to_have_value("20")
    page.get_by_label("Improve the prompt").check()
    # Without a stream of events the page asks for the task alone.
    page.route("**/v1/jobs/*/events*", lambda route: route.abort())
    card = generate(page, "a lynx", Steps="2")
    expect(card).to_have_attribute("data-state", "done")
    expect(card.locator(".revised")).to_have_text("Improved prompt: a better a lynx")


def test_a_prompt_that_was_filled_in_keeps_its_language(editing_server, opened):
    def link():
        return page.locator(".card").first.get_by_role("link", name="Link").get_attribute("href")

    page = opened(editing_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    page.get_by_label("Prompt", exact=True).fill("a sign that says 欢迎")
    assert sent_with(page, page.locator("#generate").click)["language"] == "zh"
    assert "language" not in link()
    # As a language model wrote it, which was asked in English.
    page.goto(f"{editing_server.url}/{link()}&language=en")
    expect(page.locator("#random")).not_to_be_checked()
    assert "language" not in sent_with(page, page.locator("#generate").click)
    assert "language=en" in link()


def test_a_server_that_improves_no_prompts_offers_none(plain_server, opened):
    page = opened(plain_server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    expect(page.get_by_label("Improve the prompt")).to_be_hidden()
    card = generate(page, "an owl", Steps="2")
    expect(card).to_have_attribute("data-state", "done")
    expect(card.locator(".revised")).to_be_hidden()
