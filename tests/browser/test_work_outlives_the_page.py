"""What was asked for on the page goes on without it, and is found again: in Chromium, with what breaks."""

import io
import os
import signal
from types import SimpleNamespace

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_page import generate, newest_job
from tests.support.cut_proxy import CutProxy

SLOW = "[step=0.1] a cat"


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


def test_cancel_is_a_button_also_after_a_reload(server, opened):
    page = ready(opened(server))
    expect(generate(page, f"{SLOW} to be cancelled", Steps="150")).to_have_attribute("data-state", "running")
    number = newest_job(server)["id"]
    page.reload()
    card = card_of(page, "to be cancelled")
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
    other = opened(SimpleNamespace(url=f"{server.url}/{link}"))
    expect(other.get_by_label("Prompt", exact=True)).to_have_value("a cat & a #dog=1%")
    expect(other.get_by_label("Seed", exact=True)).to_have_value(seed)
    expect(other.get_by_label("Steps")).to_have_value("3")
    other.get_by_role("button", name="Generate").click()
    made = other.locator(".card")
    expect(made).to_have_attribute("data-state", "done")
    assert pixels(server, made.locator("img")) == first


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
    expect(generate(other, "the dog of Bob", Steps="2")).to_have_attribute("data-state", "done")
    assert other.locator(".card h3").all_inner_texts() == ["the dog of Bob"]
    assert page.locator(".card h3").all_inner_texts() == ["the cat of Ann"]
    page.reload()
    expect(card_of(page, "the cat of Ann")).to_have_attribute("data-state", "done")


def pixels(server, image):
    return Image.open(io.BytesIO(server.get(f"/{image.get_attribute('src')}").content)).tobytes()


def ask_with(page, key):
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use this key").click()
