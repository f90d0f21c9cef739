"""When the form of the page is ready over a slow line: opened for the first time, again, and with much to remember.

Chromium's emulation delays every request by a round trip and limits the throughput; it does not slow down connecting.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Browser, BrowserContext, Page, expect

from benchmarks.web_page.waiting import SEND

# As many as the browser remembers.
REMEMBERED = 100
ROUND_TRIP_MS = 150
BITS_PER_SECOND = 1_600_000
# Ready is a form whose numbers are the server's.
WATCH = """(() => {
  const watch = () => {
    if (document.getElementById("num_inference_steps")?.value) window.readyAt = performance.now();
    else setTimeout(watch, 2);
  };
  watch();
})();"""


@dataclass(frozen=True)
class Start:
    """One start of the page: seconds until the form was ready, and what had come over the line by then."""

    seconds: float
    requests: int
    bytes: int


def measure(browser: Browser, url: str, times: int = 4) -> tuple[list[Start], list[Start]]:
    """Open the page several times in a new browser profile each, and then once more in the same one."""
    first, again = [], []
    for _ in range(times):
        context = browser.new_context()
        context.add_init_script(WATCH)
        first.append(_start(context, url))
        again.append(_start(context, url))
        context.close()
    return first, again


def measure_remembering(browser: Browser, url: str, times: int = 4) -> list[Start]:
    """Load the page again several times in a browser that remembers a hundred requests, all of them done."""
    context = browser.new_context()
    context.add_init_script(WATCH)
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#num_inference_steps")).not_to_have_value("", timeout=60_000)
    page.locator("#num_inference_steps").fill("1")
    page.evaluate(SEND, REMEMBERED)
    expect(page.locator(".card[data-state=done]")).to_have_count(REMEMBERED, timeout=120_000)
    starts = [_timed(page, page.reload) for _ in range(times)]
    expect(page.locator(".card[data-state=done]")).to_have_count(REMEMBERED, timeout=120_000)
    context.close()
    return starts


def summary(starts: list[Start]) -> str:
    """Return the median in a sentence."""
    seconds = statistics.median(start.seconds for start in starts)
    each = ", ".join(f"{start.seconds:.2f}" for start in starts)
    return f"{seconds:.2f} s ({each}), {starts[-1].requests} requests, {starts[-1].bytes / 1000:.0f} KB"


def _start(context: BrowserContext, url: str) -> Start:
    page = context.new_page()
    start = _timed(page, lambda: page.goto(url))
    page.close()
    return start


def _timed(page: Page, load: Callable[[], object]) -> Start:
    """Load a page over the slow line."""
    session = page.context.new_cdp_session(page)
    received: list[float] = []
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    session.send("Network.enable")
    throughput = BITS_PER_SECOND / 8
    session.send("Network.emulateNetworkConditions", {
        "offline": False, "latency": ROUND_TRIP_MS, "downloadThroughput": throughput, "uploadThroughput": throughput,
    })  # fmt: skip
    load()
    expect(page.locator("#num_inference_steps")).not_to_have_value("", timeout=60_000)
    seconds = page.evaluate("window.readyAt") / 1000
    session.detach()
    return Start(seconds, len(received), int(sum(received)))
