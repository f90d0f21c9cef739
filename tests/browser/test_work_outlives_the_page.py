"""What was asked for on the page goes on without it, and is found again: in Chromium, with what breaks."""

import io
import os
import signal
from types import SimpleNamespace

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_page import generate, newest_job
from tests.browser.test_queue_view import HIDE
from tests.support.cut_proxy import CutProxy

SLOW = "[step=0.1] a cat"
# Requests that have ended, and that the server has forgotten.
REMEMBER = """(count) => {
  for (let made = 0; made < count; made += 1) {
    const id = crypto.randomUUID();
    const task = { id, at: Date.now() + made, isSent: true, isOver: true, request: { fields: {} } };
    localStorage.setItem(`qwen-image-server task ${id}`, JSON.stringify(task));
  }
}"""


@pytest.fixture(scope="module")
def server(start):
    return start()


@pytest.fixture
def proxy(server):
    proxy = CutProxy(server.port)
    yield proxy
    proxy.stop()


def card_of(page, prompt):
    return page.locator(".card").filter(has_text=prompt)


def name_of(card):
    """Return the name of a card's image in the gallery."""
    return card.locator("img").get_attribute("src").split("?")[0].removeprefix("images/")


def ready(page):
    expect(page.get_by_label("Steps")).to_have_value("20")
    return page


def test_a_reload_finds_its_requests_the_form_and_the_previews(server, opened):
    page = ready(opened(server))
    generate(page, "a finished dog", Steps="2", Images="2")
    done = card_of(page, "a finished dog")
    expect(done).to_have_attribute("data-state", "done")
    shown = done.locator(".status, .seed").all_inner_texts()
    running = generate(page, SLOW, Steps="30", Images="1")
    expect(running.locator("figure")).to_have_attribute("data-state", "preview")
    page.get_by_label("Prompt", exact=True).fill("not sent yet")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Guidance").fill("7")
    page.get_by_label("random").uncheck()
    page.get_by_label("Seed", exact=True).fill("11")
    page.reload()
    expect(card_of(page, SLOW).locator("figure")).to_have_attribute("data-state", "preview")
    expect(card_of(page, SLOW)).to_have_attribute("data-state", "done")
    assert card_of(page, "a finished dog").locator(".seed").all_inner_texts() == shown[1:]
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("not sent yet")
    expect(page.get_by_label("Guidance")).to_have_value("7")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("11")
    expect(page.get_by_label("Steps")).to_have_value("30")


def test_a_phone_that_locks_goes_on_with_previews_where_it_is_unlocked(server, opened):
    page = ready(opened(server, excused="net::ERR", viewport={"width": 390, "height": 844}))
    followed = []
    for name in ("request", "requestfailed", "requestfinished"):
        page.on(name, lambda request, name=name: followed.append(name) if "/events?" in request.url else None)
    card = generate(page, "[step=0.05] of a locked phone", Steps="60")
    expect(card.locator("figure")).to_have_attribute("data-state", "preview")
    # It shows nothing, follows nothing, and has no network.
    page.evaluate(HIDE, True)
    page.context.set_offline(True)
    expect(page.locator("#state")).to_have_attribute("data-state", "unreachable")
    assert (followed[0], len(followed)) == ("request", 2)
    last = card.locator("img").get_attribute("src")
    page.context.set_offline(False)
    page.evaluate(HIDE, False)
    expect(card.locator("figure[data-state=preview] img")).not_to_have_attribute("src", last)
    expect(card).to_have_attribute("data-state", "done")


def test_each_tab_has_a_draft_of_its_own(server, opened):
    page = ready(opened(server))
    other = page.context.new_page()
    other.goto(server.url)
    tabs = {"a draft": page, "another draft": ready(other)}
    for prompt, tab in tabs.items():
        tab.get_by_label("Prompt", exact=True).fill(prompt)
    for prompt, tab in tabs.items():
        tab.reload()
        expect(ready(tab).get_by_label("Prompt", exact=True)).to_have_value(prompt)


def test_a_closed_tab_loses_nothing_and_two_tabs_show_the_same(server, opened):
    page = ready(opened(server))
    generate(page, f"{SLOW} of a closed tab", Steps="15")
    expect(page.locator(".card")).to_have_attribute("data-state", "running")
    context, other = page.context, page.context.new_page()
    page.close()
    other.goto(server.url)
    again = card_of(other, "of a closed tab")
    expect(again).to_have_attribute("data-state", "done")
    expect(other.get_by_label("Prompt", exact=True)).to_have_value(f"{SLOW} of a closed tab")
    third = context.new_page()
    third.goto(server.url)
    generate(other, "from the other tab", Steps="2")
    expect(card_of(third, "from the other tab")).to_have_attribute("data-state", "done")
    card_of(other, "from the other tab").get_by_role("button", name="Remove").click()
    expect(card_of(third, "from the other tab")).to_have_count(0)
    expect(card_of(third, "of a closed tab")).to_have_count(1)


def test_a_cut_connection_is_mended_without_a_word_to_the_server(server, proxy, opened):
    page = ready(opened(proxy, excused="net::ERR"))
    generate(page, f"{SLOW} on a bad line", Steps="70")
    running = card_of(page, "on a bad line")
    expect(running).to_have_attribute("data-state", "running")
    number = newest_job(server)["id"]
    proxy.cut()
    expect(page.locator("#state")).to_have_attribute("data-state", "unreachable")
    assert server.get(f"/v1/jobs/{number}").json()["state"] == "processing"
    unsent = generate(page, "sent during the cut", Steps="2")
    expect(unsent.locator(".status")).to_contain_text("sent again")
    proxy.mend()
    expect(running).to_have_attribute("data-state", "done")
    expect(card_of(page, "sent during the cut")).to_have_attribute("data-state", "done")
    prompts = [job["prompt"] for job in server.get("/v1/jobs").json()["data"]]
    assert len([prompt for prompt in prompts if "sent during the cut" in prompt]) == 1
    assert server.get(f"/v1/jobs/{number}").json()["state"] == "completed"


@pytest.mark.skipif("QIS_FULL" not in os.environ, reason="waits for another engine and another worker")
def test_a_killed_engine_and_a_killed_worker_are_survived(start, opened):
    server = start()
    page = ready(opened(server, excused="Failed to load resource"))
    generate(page, f"{SLOW} that is hard to kill", Steps="15")
    card = page.locator(".card")
    expect(card).to_have_attribute("data-state", "running")
    number = newest_job(server)["id"]
    os.kill(server.health()["engine_pid"], signal.SIGKILL)
    [worker] = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    expect(card).to_have_attribute("data-state", "done")
    assert f"request {number} " not in card.locator(".status").inner_text()


def test_cancel_is_a_button_also_after_a_reload_and_once_more_where_it_failed(server, opened):
    page = ready(opened(server, excused="500"))
    expect(generate(page, f"{SLOW} to be cancelled", Steps="150")).to_have_attribute("data-state", "running")
    number = newest_job(server)["id"]
    page.reload()
    card = card_of(page, "to be cancelled")
    expect(card).to_have_attribute("data-state", "running")
    refuse_one(page, "DELETE")
    for _ in range(2):
        card.get_by_role("button", name="Cancel").click()
    expect(card.locator(".status")).to_have_text("Cancelled.")
    assert server.get(f"/v1/jobs/{number}").json()["state"] == "cancelled"


def test_the_link_of_an_image_brings_its_settings_to_another_browser(server, opened):
    page = ready(opened(server))
    page.get_by_role("radio", name="16:9").check()
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Quality words").uncheck()
    card = generate(page, "a cat & a #dog=1%", Steps="3", Images="2")
    expect(card).to_have_attribute("data-state", "done")
    link = card.get_by_role("link", name="Link").first.get_attribute("href")
    seed = card.locator(".seed").first.inner_text().removeprefix("seed ")
    first = pixels(server, card.locator("img").first)
    page.reload()
    assert "model=fake" in link
    expect(card_of(page, "a cat &").get_by_role("link", name="Link").first).to_have_attribute("href", link)
    other = opened(SimpleNamespace(url=f"{server.url}/{link}"), excused="404")
    expect(other.get_by_label("Prompt", exact=True)).to_have_value("a cat & a #dog=1%")
    expect(other.get_by_label("Seed", exact=True)).to_have_value(seed)
    expect(other.get_by_label("Steps")).to_have_value("3")
    other.get_by_role("button", name="Generate").click()
    made = other.locator(".card")
    expect(made).to_have_attribute("data-state", "done")
    assert pixels(server, made.locator("img")) == first
    other.get_by_label("Steps").fill("4")
    for role, name, address, said in (
        ("link", "Copy settings link", link, "The link with the settings is copied."),
        ("button", "Share", f"#gallery/{name_of(made)}", "The link to the image is copied."),
    ):
        made.get_by_role(role, name=name).click()
        expect(made.locator(".said")).to_have_text(said)
        assert other.locator(".address").input_value() == f"{server.url}/{address}"
    # The form is as it was.
    expect(other.get_by_label("Steps")).to_have_value("4")
    other.goto(f"{server.url}/#gallery/{name_of(made)}")
    expect(other.get_by_role("dialog", name="Image")).to_contain_text("a cat & a #dog=1%")
    other.evaluate("location.hash = 'gallery/gone.png'")
    expect(other.locator("#gallery-said")).to_have_text("The gallery has no image of that name.")
    expect(other.get_by_role("dialog", name="Image")).to_be_hidden()


def test_a_cancel_that_failed_is_not_said_where_the_request_has_ended_meanwhile(server, opened):
    page = ready(opened(server, excused="503"))
    let_go = hold_next_task(page, "DELETE")
    card = generate(page, f"{SLOW} faster than its cancel", Steps="20")
    expect(card).to_have_attribute("data-state", "running")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_have_attribute("data-state", "done")
    said = card.locator(".status").inner_text()
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        let_go(status=503, json={"error": "Not now."})
    page.evaluate("fetch('livez').then(() => null)")
    assert card.locator(".status").inner_text() == said


def test_another_key_does_not_show_what_the_first_one_asked_for(start, opened):
    server = start(API_KEYS="the-long-key-of-ann,the-long-key-of-bob")
    page = opened(server, excused="Failed to load resource")
    ask_with(page, "the-long-key-of-ann")
    expect(generate(ready(page), "the cat of Ann", Steps="2")).to_have_attribute("data-state", "done")
    other = page.context.new_page()
    other.goto(server.url)
    ask_with(other, "the-long-key-of-bob")
    # Its form begins as the last one that was sent from this browser.
    expect(other.get_by_label("Steps")).to_have_value("2")
    let_go = hold_next_task(other)
    asked = asked_when_it_heard(page)
    card = generate(other, "the dog of Bob", Steps="2")
    assert asked() == []
    let_go()
    expect(card).to_have_attribute("data-state", "done")
    assert other.locator(".card h3").all_inner_texts() == ["the dog of Bob"]
    assert page.locator(".card h3").all_inner_texts() == ["the cat of Ann"]
    page.reload()
    expect(card_of(page, "the cat of Ann")).to_have_attribute("data-state", "done")


def test_an_image_that_one_tab_is_still_sending_is_not_lost_by_the_other(server, opened):
    page = ready(opened(server, excused="404 (NOT FOUND)"))
    other = page.context.new_page()
    other.goto(server.url)
    ready(other)
    let_go = hold_next_task(other)
    asked = asked_when_it_heard(page)
    content = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(content, "PNG")
    other.locator("#image").set_input_files({"name": "teal.png", "mimeType": "image/png", "buffer": content.getvalue()})
    expect(other.locator("#source-frame")).to_be_visible()
    card = generate(other, "a large upload", Steps="2")
    assert asked() == []
    page.reload()
    let_go()
    expect(card).to_have_attribute("data-state", "done")
    expect(card_of(page, "a large upload")).to_have_attribute("data-state", "done")


def test_a_hundred_remembered_requests_do_not_delay_the_form_and_those_that_have_ended_are_forgotten_first(
    server, opened
):
    page = ready(opened(server, excused="404"))
    generate(page, f"{SLOW} that is older than a hundred others", Steps="150", Images="10")
    running = card_of(page, "that is older")
    expect(running).to_have_attribute("data-state", "running")
    page.evaluate(REMEMBER, 100)
    asked, under_way, most = [], set(), 0

    def begin(request):
        nonlocal most
        asked.append(request.url.rpartition("/")[2])
        if "/v1/tasks/" in request.url:
            under_way.add(request)
            most = max(most, len(under_way))

    page.on("request", begin)
    page.on("response", lambda response: under_way.discard(response.request))
    page.reload()
    # What is remembered last is asked for last.
    expect(running).to_have_attribute("data-state", "running")
    start = asked.index("start.json")
    assert not any("-" in name for name in asked[:start])
    assert sum("-" in name for name in asked[start:]) > 100
    assert 1 < most <= 4
    generate(page, "one more than a hundred", Steps="2", Images="1")
    page.reload()
    for card in (card_of(page, "one more than a hundred"), running):
        card.get_by_role("button", name="Cancel").click()
        expect(card).to_have_attribute("data-state", "cancelled")


def refuse_one(page, method):
    """Let the server refuse the next request of a method for a task."""

    def answer(route):
        if route.request.method == method:
            route.fulfill(status=500, json={"error": "Not now."})
        else:
            route.fallback()

    page.route("**/v1/tasks/*", answer, times=1)


def hold_next_task(page, method="PUT"):
    """Hold the next request of a method for a task; return a function that lets it go, or answers it itself."""
    held = []

    def hold(route):
        if route.request.method == method and not held:
            held.append(route)
        else:
            route.continue_()

    def let_go(**answer):
        [route] = held
        if answer:
            route.fulfill(**answer)
        else:
            route.continue_()

    page.route("**/v1/tasks/*", hold)
    return let_go


def asked_when_it_heard(page):
    """Return a function that waits until a page hears of another tab's request, and returns what it then asked for."""
    asked = []
    page.on("request", lambda request: "/v1/tasks/" in request.url and asked.append(request.url))
    page.evaluate(
        """() => {
            window.heard = new Promise((heard) => {
                addEventListener("storage", ({ key }) => { if (key.includes("task")) heard(); });
            });
        }"""
    )

    def wait():
        page.evaluate("window.heard.then(() => fetch('livez'))")
        return asked

    return wait


def pixels(server, image):
    return Image.open(io.BytesIO(server.get(f"/{image.get_attribute('src')}").content)).tobytes()


def ask_with(page, key):
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use this key").click()
