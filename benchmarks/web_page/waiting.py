"""The frames and the work of a page with a hundred requests that wait, in both of its views, and of one with none.

The server needs an engine that only pretends, and room for all of them: `ENGINE_MODULE=tests.support.fake_engine
MAX_QUEUE=200`.
"""

import itertools
from dataclasses import dataclass

from playwright.sync_api import Browser, Page, expect

from benchmarks.web_page.scrolling import RECORD, Frames

COUNT = 100
SECONDS = 12
# So long that nothing ends meanwhile.
FIRST = "[step=0.2] the one that runs"
SEND = """async (count) => {
  const [form, prompt] = ["request", "prompt"].map((id) => document.getElementById(id));
  const cards = document.getElementById("results").children;
  for (let sent = 0; sent < count; sent += 1) {
    const before = cards.length;
    prompt.value = `a cat that waits ${sent}`;
    form.requestSubmit();
    while (cards.length === before) await new Promise((done) => { setTimeout(done); });
  }
}"""
WATCH_LONG_TASKS = """() => {
  new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => window.longTasks.push(duration)))
    .observe({ type: "longtask" });
}"""


@dataclass(frozen=True)
class Work:
    """The frames of some seconds, the share of them in which the page's thread worked, and its tasks above 50 ms."""

    frames: Frames
    busy: float
    long_tasks: list[float]

    def __str__(self) -> str:
        longest = f", the longest {max(self.long_tasks):.0f} ms" if self.long_tasks else ""
        return f"{self.frames}; busy {self.busy:.1%}, {len(self.long_tasks)} tasks above 50 ms{longest}"


def measure(browser: Browser, url: str) -> dict[str, Work]:
    """Return the work of a page without requests, then of both views with those that wait."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(60_000)
    page.goto(url)
    expect(page.locator("#num_inference_steps")).not_to_have_value("", timeout=60_000)
    page.evaluate(RECORD)
    page.evaluate(WATCH_LONG_TASKS)
    found = {"no request": _work(page)}
    page.locator("#num_inference_steps").fill("150")
    page.locator("#n").fill("10")
    page.locator("#prompt").fill(FIRST)
    page.locator("#generate").click()
    page.locator("#n").fill("1")
    page.evaluate(SEND, COUNT)
    expect(page.locator(".card[data-state=queued]")).to_have_count(COUNT, timeout=60_000)
    found[f"{COUNT} cards"] = _work(page)
    page.evaluate("location.hash = 'queue'")
    expect(page.locator("#queue-list li")).to_have_count(COUNT + 1, timeout=60_000)
    found["the queue"] = _work(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#queue-cancel-all").click()
    page.close()
    return found


def _work(page: Page) -> Work:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.evaluate("Object.assign(window, { frames: [], longTasks: [] })")
    before = _task_seconds(session.send("Performance.getMetrics"))
    page.wait_for_timeout(1000 * SECONDS)
    after = _task_seconds(session.send("Performance.getMetrics"))
    frames = page.evaluate("window.frames")
    intervals = [later - earlier for earlier, later in itertools.pairwise(frames)]
    return Work(Frames(intervals), (after - before) / SECONDS, page.evaluate("window.longTasks"))


def _task_seconds(answer: dict[str, list[dict[str, float]]]) -> float:
    return next(metric["value"] for metric in answer["metrics"] if str(metric["name"]) == "TaskDuration")
