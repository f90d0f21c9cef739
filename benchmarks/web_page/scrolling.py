"""The frames while a person scrolls through the gallery, and through a page of the same height without any image."""

import itertools
import statistics
from dataclasses import dataclass
from typing import Any

import requests
from playwright.sync_api import Browser, Page

IMAGES = 500
PIXELS_PER_SECOND = 1200
SECONDS = 12
# A frame of a screen with 60 Hz has 16.7 ms; one that takes longer than 1.5 of them leaves one out.
LATE_MS = 25
RECORD = """() => {
  window.frames = [];
  const record = (now) => { window.frames.push(now); requestAnimationFrame(record); };
  requestAnimationFrame(record);
}"""


@dataclass(frozen=True)
class Frames:
    """The intervals between frames in milliseconds."""

    intervals: list[float]

    @property
    def per_second(self) -> float:
        return 1000 * len(self.intervals) / sum(self.intervals)

    @property
    def late(self) -> float:
        """The share of frames that came late."""
        return sum(interval > LATE_MS for interval in self.intervals) / len(self.intervals)

    def __str__(self) -> str:
        middle, longest = statistics.median(self.intervals), max(self.intervals)
        return f"{self.per_second:.1f} frames/s, median {middle:.1f} ms, longest {longest:.0f} ms, {self.late:.1%} late"


def fill(url: str) -> int:
    """Let the server have so many saved images, each larger than its thumbnail; return their number."""
    while (total := requests.get(f"{url}/v1/gallery?limit=1", timeout=30).json()["total"]) < IMAGES:
        body = {"prompt": f"image {total}", "save_to_file": True, "size": "384x384", "num_inference_steps": 1, "n": 10}
        requests.post(f"{url}/generate", json=body | {"cache": False, "seed": None}, timeout=120).raise_for_status()
    return int(total)


def measure(browser: Browser, url: str) -> tuple[Frames, Frames]:
    """Return the frames of the gallery, and those of the empty page."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{url}/#gallery")
    page.locator(".tile img").first.wait_for()
    gallery = _scrolled(page)
    empty = browser.new_page(viewport={"width": 1280, "height": 800})
    empty.set_content("<div style='height: 100000px'>nothing</div>")
    return gallery, _scrolled(empty)


def _scrolled(page: Page) -> Frames:
    session = page.context.new_cdp_session(page)
    page.evaluate(RECORD)
    gesture: dict[str, Any] = {"x": 640, "y": 400, "yDistance": -PIXELS_PER_SECOND * SECONDS}
    session.send("Input.synthesizeScrollGesture", gesture | {"speed": PIXELS_PER_SECOND, "gestureSourceType": "touch"})
    frames = page.evaluate("window.frames")
    return Frames([after - before for before, after in itertools.pairwise(frames)])
