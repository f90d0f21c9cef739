"""More than a hundred requests that wait: the page asks no more often for them, and writes only what has changed."""

import pytest
from playwright.sync_api import expect

from benchmarks.web_page.waiting import SEND
from tests.browser.test_page import generate

# More than the server lists where it is not asked for more.
COUNT = 120
# Every change within what shows a request that waits, by the element that changes.
WATCH = """() => {
  window.changes = [];
  new MutationObserver((records) => records.forEach(({ target }) => {
    const place = target.closest(".card, #queue-list > li");
    if (place && place.querySelector("progress").value === 0) window.changes.push(target.className || target.localName);
  })).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""


@pytest.fixture
def page(start, opened):
    server = start(MAX_QUEUE="200")
    page = opened(server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    # The server learns what a step costs, so that all waits are known.
    expect(generate(page, "[step=0.1] a cat", Steps="2")).to_have_attribute("data-state", "done")
    page.get_by_role("button", name="Remove").click()
    generate(page, "[step=0.2] a slow cat", Steps="150", Images="10")
    page.get_by_label("Images", exact=True).fill("1")
    page.evaluate(SEND, COUNT)
    expect(page.locator(".card[data-state=queued]")).to_have_count(COUNT)
    return page


def name_of(address):
    return address.rpartition("/")[2].partition("?")[0]


def polls(page, times):
    """Return the addresses that the page asks for while it polls so many times."""
    asked = []
    # A preview is an address of the page's own.
    page.on("request", lambda request: request.url.startswith("blob:") or asked.append(name_of(request.url)))
    for _ in range(times):
        with page.expect_response("**/health"):
            pass
    return asked


def test_a_hundred_waiting_requests_cost_no_more_questions_and_no_more_than_their_times(page):
    page.evaluate(WATCH)
    first = page.locator(".card").filter(has_text="a cat that waits 0")
    first.get_by_role("button", name="Cancel").click()
    expect(first).to_have_attribute("data-state", "cancelled")
    first.get_by_role("button", name="Remove").click()
    # One job less is before each of them.
    page.wait_for_function("() => window.changes.filter((name) => name === 'status').length >= 99")
    page.evaluate("window.changes.splice(0)")
    asked = polls(page, 2)
    # The state of the server and one short list, each time.
    assert len(asked) <= 3 * 2, asked
    assert set(asked) == {"health", "progress"}
    changes = page.evaluate("window.changes.splice(0)")
    assert set(changes) <= {"status"}
    assert len(changes) <= 3 * COUNT
    page.get_by_role("link", name="Queue").click()
    expect(page.locator("#queue-list li")).to_have_count(COUNT)
    page.evaluate("window.changes.splice(0)")
    asked = polls(page, 2)
    # The short list of all jobs and the last hour too; what a job is, was asked once.
    assert len(asked) <= 3 * 4, asked
    assert set(asked) <= {"health", "progress", "history", "usage", "info"}
    changes = page.evaluate("window.changes.splice(0)")
    assert set(changes) <= {"status"}
    # In the cards, which are out of sight, and in the rows.
    assert len(changes) <= 2 * 3 * COUNT
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel all of mine").click()
    expect(page.get_by_text("Nothing runs and nothing waits.")).to_be_visible()
