"""The whole server is killed and started again while two devices have its page open: nothing is lost, keys are on."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_work_outlives_the_page import ask_with, card_of, ready
from tests.support.cut_proxy import CutProxy
from tests.support.keys import USER_KEY

SLOW = "[step=0.2] a cat that outlives its server"
KEYS = f"ann:{USER_KEY} role=user"
PHONE, LARGE = {"width": 390, "height": 844}, {"width": 1280, "height": 800}


@pytest.fixture
def first(start):
    return start(API_KEYS=KEYS)


@pytest.fixture
def proxy(first):
    """The address that both servers have for the page."""
    proxy = CutProxy(first.port)
    yield proxy
    proxy.stop()


def kill_whole(server):
    for process in server.processes():
        process.kill()
    server.process.wait()
    assert server.leftovers() == []


def visit(opened, proxy, screen):
    page = opened(proxy, excused="Failed to load resource", viewport=screen)
    ask_with(page, USER_KEY)
    return ready(page)


def test_a_killed_server_goes_on_when_it_is_started_again_and_each_device_shows_it(start, first, proxy, opened):
    phone, large = visit(opened, proxy, PHONE), visit(opened, proxy, LARGE)
    # Sent with the keyboard alone.
    phone.keyboard.type(SLOW)
    phone.keyboard.press("Control+Enter")
    card = card_of(phone, SLOW)
    expect(card).to_have_attribute("data-state", "running")
    proxy.cut()
    kill_whole(first)
    for page in (phone, large):
        expect(page.locator("#state")).to_have_attribute("data-state", "unreachable")
    again = start(API_KEYS=KEYS, STATE_DIR=str(first.folder / "state"), OUTPUT_DIR=str(first.output_dir))
    proxy.mend(again.port)
    expect(card).to_have_attribute("data-state", "done")
    assert card.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    # It has asked for the job's old number, and not on and on.
    assert again.log.count("There is no job") < 10
    large.evaluate("location.hash = 'gallery'")
    expect(large.locator(".tile img")).to_have_count(1)
