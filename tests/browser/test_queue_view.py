"""The view of the queue: what the devices do, what runs and waits and for how long, and how it is cancelled."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_page import generate, newest_job

SLOW = "[step=0.1] a slow cat"
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


# A machine without a sound card plays nothing, and one without a desktop shows no notification.
RECORD_NOTICES = """() => {
  window.notices = [];
  const heard = document.body.dataset;
  heard.tones = 0;
  AudioContext.prototype.resume = async () => {};
  OscillatorNode.prototype.start = () => { heard.tones = Number(heard.tones) + 1; };
  OscillatorNode.prototype.stop = () => {};
  window.Notification = class {
    static permission = "granted";
    static requestPermission = async () => "granted";
    constructor(title, { body }) { window.notices.push([title, body]); }
  };
}"""


@pytest.fixture(scope="module")
def server(start):
    return start()


def ready(page):
    expect(page.get_by_label("Steps")).to_have_value("20")
    return page


def rows(page):
    return page.locator("#queue-list li")


def seconds_of(locator):
    """Return the seconds in a sentence such as «about 12 s»."""
    found = re.search(r"about (\d+) s", locator.inner_text())
    return None if found is None else int(found.group(1))


def refuse_the_first_cancel(page):
    refused = []

    def answer(route):
        if route.request.method != "DELETE" or refused:
            route.fallback()
            return
        refused.append(route)
        route.fulfill(status=503, json={"error": "Not now."})

    page.route(re.compile(r"/v1/jobs/\d+(\?|$)"), answer)


def falls(page, locator):
    """Wait until the seconds that a sentence names have become fewer."""
    expect(locator).to_contain_text(re.compile(r"about \d+ s"))
    first = seconds_of(locator)
    for _ in range(60):
        page.wait_for_timeout(100)
        now = seconds_of(locator)
        if now is None or now < first:
            return now is not None
    return False


def test_the_queue_shows_what_runs_and_waits_and_cancels_one_or_all(server, opened):
    page = ready(opened(server, excused="503"))
    page.on("dialog", lambda dialog: dialog.accept())
    # The server learns what a step costs.
    expect(generate(page, "[step=0.1] a first cat", Steps="4")).to_have_attribute("data-state", "done")
    generate(page, SLOW, Steps="80")
    waiting = generate(page, "the second cat", Steps="81")
    generate(page, "the third cat", Steps="82")
    assert falls(page, waiting.locator(".status"))
    page.get_by_role("link", name="Queue").click()
    expect(page).to_have_title("Queue · qwen-image-server")
    expect(rows(page)).to_have_count(3)
    expect(rows(page).nth(0)).to_contain_text(re.compile(r"Step \d+ of 80, about \d+ s left\."))
    # As it was sent, without the quality words that the server adds.
    expect(rows(page).nth(1).locator("h3")).to_have_text("the second cat")
    expect(rows(page).nth(2)).to_contain_text("2 ahead")
    expect(page.locator("#queue-devices li")).to_contain_text(re.compile("working · fake · runs request .*busy"))
    expect(page.locator("#queue-charts figure")).to_have_count(4)
    expect(page.locator("#queue-charts rect").first).to_be_attached()
    refuse_the_first_cancel(page)
    page.get_by_role("button", name="Cancel the third cat").click()
    expect(page.locator("#queue-said")).to_have_text("Cancelled: 0. Not now.")
    page.get_by_role("button", name="Cancel the third cat").click()
    expect(page.locator("#queue-said")).to_have_text("Cancelled: 1.")
    expect(rows(page)).to_have_count(2)
    page.get_by_role("button", name="Cancel all of mine").click()
    expect(page.get_by_text("Nothing runs and nothing waits.")).to_be_visible()
    page.get_by_role("link", name="Create").click()
    expect(page.locator(".card[data-state=cancelled]")).to_have_count(3)


def test_a_view_opens_by_its_address_and_is_still_there_after_a_reload(server, opened):
    page = ready(opened(server))
    for view, part in (("queue", "#queue-devices li"), ("gallery", "#gallery-total")):
        page.evaluate(f"location.hash = '{view}'")
        page.reload()
        expect(page.locator(part)).not_to_be_empty()
        expect(page.locator(part)).to_be_visible()
        expect(page.locator("#state")).to_have_attribute("data-state", "healthy")


def test_a_user_sees_its_own_requests_and_an_admin_all(start, opened):
    server = start(API_KEYS="ann:key-of-ann-of-the-tests role=user,root:key-of-root-of-the-tests")
    pages = {}
    for name in ("ann", "root"):
        page = pages[name] = opened(server, excused="401")
        page.get_by_label("API key").fill(f"key-of-{name}-of-the-tests")
        page.get_by_role("button", name="Use this key").click()
        ready(page)
    generate(pages["ann"], f"{SLOW} of ann", Steps="100")
    for page in pages.values():
        page.evaluate("location.hash = 'queue'")
    expect(rows(pages["ann"])).to_contain_text("of ann")
    expect(pages["ann"].locator("#queue-history")).to_be_hidden()
    expect(pages["ann"].get_by_label("Requests of all keys")).to_be_hidden()
    root = pages["root"]
    expect(root.get_by_text("The last hour")).to_be_visible()
    expect(rows(root)).to_have_count(0)
    root.get_by_label("Requests of all keys").check()
    expect(rows(root)).to_contain_text("of ann")
    root.get_by_role("button", name="Cancel", exact=False).first.click()
    expect(rows(pages["ann"])).to_have_count(0)


def test_a_hidden_tab_says_in_its_title_that_an_image_is_done_and_as_chosen_by_sound_and_notification(server, opened):
    page = ready(opened(server))
    generate(page, "[step=0.1] a cat", Steps="3")
    page.evaluate(HIDE, True)
    expect(page).to_have_title("Done (1) · qwen-image-server")
    page.evaluate(HIDE, False)
    expect(page).to_have_title("qwen-image-server")
    page.evaluate(RECORD_NOTICES)
    page.get_by_role("link", name="Queue").click()
    page.get_by_label("Play a sound").check()
    page.get_by_label("Show a notification when this tab is hidden").check()
    # A sound is heard once where it is switched on.
    expect(page.locator("body")).to_have_attribute("data-tones", "2")
    page.get_by_role("link", name="Create").click()
    generate(page, "[step=0.1] another cat", Steps="4")
    page.evaluate(HIDE, True)
    expect(page).to_have_title("Done (1) · qwen-image-server")
    expect(page.locator("body")).to_have_attribute("data-tones", "4")
    assert page.evaluate("window.notices") == [["Your image is done", "[step=0.1] another cat"]]


def test_a_card_tells_the_time_of_an_image_from_its_wait(server, opened):
    page = ready(opened(server))
    generate(page, "[step=0.1] a first cat", Steps="30")
    second = generate(page, "[step=0.1] a cat that waits", Steps="2")
    expect(second).to_have_attribute("data-state", "done")
    took, waited = map(float, re.search(r" · ([\d.]+) s .*· ([\d.]+) s in the queue", second.inner_text()).groups())
    assert took < waited


def test_a_request_names_the_model_that_the_form_was_for_and_its_card_says_it(server, opened):
    page = ready(opened(server))
    with page.expect_request(lambda request: request.method == "PUT") as sent:
        card = generate(page, "a cat of a model", Steps="2")
    assert sent.value.post_data_json["model"] == "fake"
    expect(card.locator(".status")).to_contain_text(" · fake · ")
    assert newest_job(server)["model"] == "fake"


def test_on_a_phone_in_chinese_the_queue_fits_and_every_control_has_a_name(server, opened):
    page = opened(server, locale="zh-CN", viewport={"width": 390, "height": 844})
    page.get_by_role("link", name="队列").click()
    expect(page.get_by_text("没有正在运行或等待的请求。")).to_be_visible()
    expect(page.get_by_label("播放声音")).not_to_be_checked()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nameless = "[...document.querySelectorAll('#queue input')].filter((each) => !each.labels.length)"
    assert page.evaluate(f"{nameless}.map((each) => each.outerHTML)") == []
    # Before the first answer the table is hidden, and what is hidden hears no key.
    hour = page.locator("#queue-history summary")
    expect(hour).to_be_visible()
    hour.press("Enter")
    expect(page.locator("#queue-table tr").last).to_be_visible()
