"""What was asked for while the server did not answer: sent once, by whoever may, or said to be unsent; in Chromium."""

import base64
import json
import re

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.test_page import generate
from tests.browser.test_sent_images import bring, png, wait_until_kept
from tests.browser.test_work_outlives_the_page import ask_with, card_of, hold_next_task
from tests.support.cut_proxy import CutProxy
from tests.support.images import noise
from tests.support.keys import ADMIN_KEY, USER_KEY

# As after a crash a while ago.
LET_TIME_PASS = """(seconds) => {
  for (const name of Object.keys(localStorage).filter((each) => each.includes("server holder "))) {
    const holder = JSON.parse(localStorage.getItem(name));
    localStorage.setItem(name, JSON.stringify({ ...holder, at: holder.at - 1000 * seconds }));
  }
}"""
# The page cannot say that it is closed.
DIE = "addEventListener('pagehide', (event) => event.stopImmediatePropagation(), true)"
REMEMBERED = "Object.keys(localStorage).filter((name) => /server (task|holder) /.test(name))"
TASKS = "Object.keys(localStorage).filter((name) => /server task /.test(name))"
UNSENT = """Object.entries(localStorage).filter(([name, value]) => (
  /server holder /.test(name) || (/server task /.test(name) && !JSON.parse(value).isSent)
))"""
SAY_THAT_SENT = """() => {
  for (const name of Object.keys(localStorage).filter((each) => each.includes("server task "))) {
    const task = JSON.parse(localStorage.getItem(name));
    localStorage.setItem(name, JSON.stringify({ ...task, isSent: true }));
  }
}"""
WITHDRAWN = "Object.keys(localStorage).filter((name) => /server cancelled /.test(name))"
NOTHING_HELD = "() => !Object.keys(localStorage).some((name) => name.includes('server holder '))"


@pytest.fixture
def through():
    """Put a proxy that can be cut before a server: `through(server)`."""
    proxies = []

    def put(server):
        proxies.append(CutProxy(server.port))
        return proxies[-1]

    yield put
    for proxy in proxies:
        proxy.stop()


def ready(page):
    """Return a page whose form is there: as it is at first, or as it was sent last."""
    expect(page.get_by_label("Steps")).to_have_value(re.compile("^20?$"))
    return page


def asked_for(server, prompt, **options):
    jobs = server.get("/v1/jobs?limit=1000", **options).json()["data"]
    return len([job for job in jobs if job["prompt"].startswith(prompt)])


def task_of(server, sent):
    """Return what a server says about the task that a request, which a page has sent, asks for."""
    return server.get(f"/v1/tasks/{sent.value.url.rpartition('/')[2]}").json()


def ask_in_vain(page, prompt):
    """Generate while the server does not answer."""
    card = generate(page, prompt, Steps="2")
    expect(card.locator(".status")).to_contain_text("sent again")
    return card


def forget_key(page):
    """Forget the key, and return when the page was loaded again."""
    page.locator("#help").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Forget the API key").click()


def duplicate(page, server):
    """Return a tab that begins, and begins again, with what another one has stored for itself."""
    copied = json.dumps(page.evaluate("Object.entries(sessionStorage)"))
    copy = page.context.new_page()
    copy.add_init_script(f"for (const [name, value] of {copied}) sessionStorage.setItem(name, value);")
    copy.goto(server.url)
    return ready(copy)


def test_without_keys_an_open_tab_sends_what_a_closed_one_could_not_and_nothing_that_was_cancelled(
    plain_server, through, opened
):
    proxy = through(plain_server)
    page = ready(opened(proxy, excused="Failed to load resource"))
    other = page.context.new_page()
    other.goto(proxy.url)
    ready(other)
    proxy.cut()
    cancelled = ask_in_vain(page, "cancelled before it was sent")
    cancelled.get_by_role("button", name="Cancel").click()
    expect(cancelled).to_have_attribute("data-state", "cancelled")
    ask_in_vain(page, "sent by another tab")
    page.close()
    other.evaluate(LET_TIME_PASS, 100)
    proxy.mend()
    # Which asks at once.
    other.get_by_role("link", name="Queue").click()
    expect(card_of(other, "sent by another tab")).to_have_attribute("data-state", "done")
    other.reload()
    expect(card_of(other, "sent by another tab")).to_have_attribute("data-state", "done")
    expect(other.locator(".card")).to_have_count(1)
    assert asked_for(plain_server, "sent by another tab") == 1
    assert asked_for(plain_server, "cancelled before") == 0


def test_a_request_that_is_cancelled_while_it_is_sent_is_not_generated_where_it_arrives_later(plain_server, opened):
    page = ready(opened(plain_server, excused="404"))
    hold_next_task(page)
    with page.expect_request(lambda request: request.method == "PUT") as sent:
        card = generate(page, "[step=0.1] cancelled on its way", Steps="100")
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        card.get_by_role("button", name="Cancel").click()
    assert page.evaluate(REMEMBERED) == []
    # As where the server had read it when the browser broke off.
    assert requests.put(sent.value.url, json=sent.value.post_data_json, timeout=30).status_code == 200
    with page.expect_response(lambda response: response.request.method == "DELETE" and response.ok):
        pass
    assert requests.get(sent.value.url, timeout=30).json()["status"] == "cancelled"
    expect(card.locator(".status")).to_have_text("Cancelled.")


def test_a_cancel_during_an_outage_is_carried_out_after_a_reload_when_the_server_is_back(plain_server, through, opened):
    proxy = through(plain_server)
    page = ready(opened(proxy, excused="Failed to load resource"))
    with page.expect_response(lambda response: response.request.method == "PUT") as sent:
        card = generate(page, "[step=0.2] cancelled in an outage", Steps="150")
    expect(card).to_have_attribute("data-state", "running")
    proxy.cut()
    card.get_by_role("button", name="Cancel").click()
    expect(card.locator(".status")).to_have_text("It is cancelled when the server answers again.")
    page.goto("about:blank")
    assert task_of(plain_server, sent)["status"] == "processing"
    proxy.mend()
    page.goto(proxy.url)
    expect(card_of(page, "cancelled in an outage")).to_have_attribute("data-state", "cancelled")
    assert task_of(plain_server, sent)["status"] == "cancelled"
    page.wait_for_function(f"() => !{WITHDRAWN}.length")


def test_a_cancel_on_its_way_to_a_server_that_hangs_up_is_carried_out_after_a_reload(plain_server, through, opened):
    proxy = through(plain_server)
    page = ready(opened(proxy, excused="Failed to load resource"))
    hold_next_task(page)
    with page.expect_request(lambda request: request.method == "PUT") as sent:
        card = generate(page, "[step=0.2] cancelled before the answer", Steps="150")
    proxy.cut()
    # As where the server had read it before the line broke, and its answer was lost.
    address = sent.value.url.replace(proxy.url, plain_server.url)
    assert requests.put(address, json=sent.value.post_data_json, timeout=30).status_code == 200
    card.get_by_role("button", name="Cancel").click()
    expect(card.locator(".status")).to_have_text("Cancelled.")
    assert page.evaluate(REMEMBERED) == []
    page.goto("about:blank")
    proxy.mend()
    page.goto(proxy.url)
    page.wait_for_function(f"() => !{WITHDRAWN}.length")
    assert requests.get(address, timeout=30).json()["status"] == "cancelled"
    expect(page.locator(".card")).to_have_count(0)


def test_with_keys_a_closed_tab_s_request_is_said_to_be_unsent_and_a_forgotten_key_s_is_forgotten(
    keyed_server, through, opened
):
    proxy = through(keyed_server)
    page = opened(proxy, excused="Failed to load resource")
    ask_with(page, USER_KEY)
    ready(page)
    other = page.context.new_page()
    proxy.cut()
    ask_in_vain(page, "of a closed tab")
    page.goto("about:blank")
    proxy.mend()
    other.goto(proxy.url)
    ask_with(other, ADMIN_KEY)
    unsent = card_of(ready(other), "of a closed tab")
    expect(unsent).to_contain_text("The request was not sent")
    assert other.evaluate(REMEMBERED) == []
    unsent.get_by_role("button", name="Try again").click()
    expect(card_of(other, "of a closed tab")).to_have_attribute("data-state", "done")
    other.route("**/v1/tasks/*", lambda route: route.abort())
    ask_in_vain(other, "of a forgotten key")
    forget_key(other)
    expect(other.get_by_label("API key")).to_be_visible()
    assert other.evaluate(UNSENT) == []
    other.unroute_all()
    ask_with(other, USER_KEY)
    ready(other)
    # The admin's images are not this key's.
    expect(other.locator(".card")).to_have_count(0)
    assert (
        asked_for(keyed_server, "of a", headers={"Authorization": f"Bearer {ADMIN_KEY}"}, params={"all": "true"}) == 1
    )


def test_another_key_in_the_same_tab_sends_nothing_of_the_first_one(keyed_server, opened):
    page = opened(keyed_server, excused="Failed to load resource")
    ask_with(page, ADMIN_KEY)
    ready(page)
    page.route("**/v1/tasks/*", lambda route: route.abort())
    card = ask_in_vain(page, "of the key before")
    # As where the key was revoked.
    page.route("**/page/start.json", lambda route: route.fulfill(status=401, json={"error": "No."}), times=1)
    ask_with(page, USER_KEY)
    expect(card).to_contain_text("The request was not sent")
    page.unroute_all()


def test_a_request_of_the_first_key_is_not_sent_with_one_that_another_tab_keeps(keyed_server, opened):
    page = opened(keyed_server, excused="Failed to load resource")
    page.get_by_label("Keep on this device").check()
    ask_with(page, USER_KEY)
    other = ready(page).context.new_page()
    other.goto(keyed_server.url)
    ready(other)
    page.route("**/v1/tasks/*", lambda route: route.abort())
    ask_in_vain(page, "before another tab kept a key")
    forget_key(other)
    other.get_by_label("Keep on this device").check()
    ask_with(other, ADMIN_KEY)
    ready(other)
    page.reload()
    ready(page).unroute_all()
    expect(card_of(page, "before another tab")).to_contain_text("The request was not sent")


def test_what_a_browser_that_died_could_not_send_is_said_by_a_tab_that_was_opened_at_once(keyed_server, opened):
    page = opened(keyed_server, excused="Failed to load resource")
    page.add_init_script(DIE)
    page.reload()
    ask_with(page, USER_KEY)
    ready(page).route("**/v1/tasks/*", lambda route: route.abort())
    ask_in_vain(page, "of a browser that died")
    other = page.context.new_page()
    page.close()
    other.goto(keyed_server.url)
    ask_with(other, USER_KEY)
    expect(ready(other).locator(".card")).to_have_count(0)
    other.evaluate(LET_TIME_PASS, 200)
    # Which asks at once.
    other.get_by_role("link", name="Queue").click()
    expect(card_of(other, "of a browser that died")).to_contain_text("The request was not sent")


def test_images_of_one_key_do_not_come_into_the_form_of_another_and_go_with_their_key(keyed_server, opened):
    page = opened(keyed_server, excused="Failed to load resource")
    page.get_by_label("Keep on this device").check()
    ask_with(page, USER_KEY)
    bring(ready(page), png(noise()))
    expect(generate(page, "from an image of ann", Steps="2")).to_have_attribute("data-state", "done")
    wait_until_kept(page, 3, images=1)
    other = page.context.new_page()
    other.goto(keyed_server.url)
    expect(other.get_by_alt_text("The image to start from")).to_be_visible()
    wait_until_kept(page, 4, images=1)
    forget_key(other)
    # The card of the request has it still.
    wait_until_kept(page, 1, images=1)
    # The next tab would have this one.
    expect(generate(page, "from it again")).to_have_attribute("data-state", "done")
    wait_until_kept(page, 3, images=1)
    ask_with(other, ADMIN_KEY)
    other.wait_for_function("() => sessionStorage.getItem('qwen-image-server form images') === 'null'", timeout=60_000)
    expect(other.get_by_alt_text("The image to start from")).to_be_hidden()
    expect(other.locator("#form-note")).to_be_empty()


def test_forget_the_key_in_a_duplicated_tab_forgets_nothing_of_the_first_one(keyed_server, opened):
    page = opened(keyed_server, excused="Failed to load resource")
    ask_with(page, USER_KEY)
    let_go = hold_next_task(ready(page))
    card = generate(page, "sent by the first tab", Steps="2")
    copy = duplicate(page, keyed_server)
    forget_key(copy)
    assert len(copy.evaluate(TASKS)) == 1
    let_go()
    expect(card).to_have_attribute("data-state", "done")
    forget_key(copy)
    assert len(copy.evaluate(TASKS)) == 1


def test_an_image_that_could_not_be_sent_is_sent_by_the_next_tab(plain_server, opened, through):
    proxy = through(plain_server)
    page = ready(opened(proxy, excused="Failed to load resource"))
    image = png(noise())
    bring(page, image)
    expect(page.locator("#source-note")).to_have_text("64×64")
    page.route("**/v1/tasks/*", lambda route: route.abort())
    ask_in_vain(page, "from an image that waits")
    wait_until_kept(page, 3, images=1)
    other = page.context.new_page()
    page.close()
    with other.expect_request(lambda request: request.method == "PUT") as sent:
        other.goto(proxy.url)
    expect(card_of(other, "from an image that waits")).to_have_attribute("data-state", "done")
    assert base64.b64decode(sent.value.post_data_json["image"].split(",")[1]) == image


def test_a_duplicated_tab_does_not_take_the_image_for_lost_that_the_first_one_is_sending(plain_server, opened):
    page = ready(opened(plain_server, excused="404"))
    bring(page, png(noise()))
    expect(page.locator("#source-frame")).to_be_visible()
    let_go = hold_next_task(page)
    card = generate(page, "a large upload", Steps="2")
    copy = duplicate(page, plain_server)
    expect(copy.locator("#state")).to_have_attribute("data-state", "healthy")
    # As where another try of it was faster.
    copy.evaluate(SAY_THAT_SENT)
    page.wait_for_function(NOTHING_HELD)
    let_go()
    expect(card).to_have_attribute("data-state", "done")
    expect(card_of(copy, "a large upload")).to_have_attribute("data-state", "done")
