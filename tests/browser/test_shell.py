"""The page's frame in Chromium: the key, the colours, the keyboard, and a phone's screen."""

import pytest
from playwright.sync_api import expect

KEY = "a-key-of-the-tests"
COVERED = """() => [...document.querySelectorAll("#create input, #create select, #create textarea, #create button")]
  .filter((each) => each.checkVisibility() && !each.disabled && !each.closest("#sending"))
  .filter((each) => {
    each.focus();
    const box = each.getBoundingClientRect();
    return box.bottom > document.getElementById("sending").getBoundingClientRect().top || box.top < 0;
  }).map((each) => each.id || each.outerHTML)"""


@pytest.fixture(scope="module")
def server(start):
    return start()


def ready(page):
    expect(page.get_by_label("Steps", exact=True)).to_have_value("20")
    return page


def give(page, key):
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")


def test_a_wrong_key_keeps_the_focus_and_a_right_one_can_be_kept_on_the_device(start, opened):
    page = opened(start(API_KEYS=KEY), excused="401")
    field = page.get_by_label("API key")
    page.get_by_label("Keep on this device").check()
    give(page, "wrong")
    page.keyboard.type("typed at once")
    expect(page.get_by_text("The API key is wrong.")).to_be_visible()
    expect(field).to_be_focused()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(KEY)
    expect(field).to_have_value(KEY)
    page.keyboard.press("Enter")
    expect(ready(page).get_by_label("Prompt", exact=True)).to_be_focused()
    other = page.context.new_page()
    other.goto(page.url)
    expect(ready(other).get_by_label("API key")).to_be_hidden()
    other.keyboard.press("?")
    other.get_by_role("button", name="Forget the API key").click()
    expect(other.get_by_label("API key")).to_be_visible()
    assert KEY not in other.evaluate("JSON.stringify([localStorage, sessionStorage])")


def test_the_colours_follow_the_system_until_one_is_chosen(server, opened):
    page = ready(opened(server, color_scheme="dark"))
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_label("Colours").select_option("light")
    light = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert ready(page).evaluate(ground) == light
    page.emulate_media(color_scheme="light")
    page.get_by_label("Colours").select_option("dark")
    assert page.evaluate(ground) == dark


def test_the_keyboard_has_a_sheet_and_its_single_keys_can_be_turned_off(server, opened):
    page = ready(opened(server))
    prompt = page.get_by_label("Prompt", exact=True)
    page.keyboard.press("/")
    expect(prompt).to_be_focused()
    page.keyboard.type("why? a/b")
    expect(prompt).to_have_value("why? a/b")
    page.get_by_label("random").focus()
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keyboard")
    expect(sheet).to_contain_text("Write the prompt")
    page.get_by_label("Keys without Ctrl").uncheck()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(page.get_by_label("random")).to_be_focused()
    page.keyboard.press("/")
    expect(prompt).not_to_be_focused()


@pytest.mark.parametrize("size", [(390, 844), (360, 640), (1280, 800)], ids=str)
def test_what_has_the_focus_is_never_under_the_bar_with_the_prompt(server, opened, size):
    page = ready(opened(server, viewport={"width": size[0], "height": size[1]}))
    if size[0] < 1000:
        box = page.locator("#sending").bounding_box()
        assert round(box["y"] + box["height"]) == size[1]
        assert page.evaluate(COVERED) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_what_is_written_before_the_settings_arrive_is_not_overwritten(server, opened):
    page = ready(opened(server))
    page.get_by_label("Prompt", exact=True).fill("remembered")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Guidance", exact=True).fill("7")
    held = []
    page.route("**/page/start.json", lambda route: held.append(route))
    page.reload()
    page.get_by_label("Prompt", exact=True).fill("written early")
    page.get_by_label("Steps", exact=True).fill("9")
    held[0].continue_()
    expect(page.get_by_label("Guidance", exact=True)).to_have_value("7")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("written early")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("9")
