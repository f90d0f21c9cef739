"""Measure the page of a running server: `python -m benchmarks.web_page http://127.0.0.1:5000`.

It saves images there until there are 500. `… URL waiting` measures a page with a hundred requests that wait instead,
and needs a server as `waiting.py` says.
"""

import sys

from benchmarks.web_page import scrolling, slow_line, waiting
from benchmarks.web_page.browser import chromium


def main(url: str = "http://127.0.0.1:5000", what: str = "") -> None:
    """Print the figures."""
    with chromium() as browser:
        if what == "waiting":
            for name, work in waiting.measure(browser, url).items():
                print(f"{name}: {work}", flush=True)
            return
        first, again = slow_line.measure(browser, url)
        print(f"form ready, opened for the first time: {slow_line.summary(first)}")
        print(f"form ready, opened again: {slow_line.summary(again)}", flush=True)
        remembering = slow_line.measure_remembering(browser, url)
        print(
            f"form ready, loaded again with a hundred remembered requests: {slow_line.summary(remembering)}", flush=True
        )
        print(f"gallery of {scrolling.fill(url)} images", flush=True)
        gallery, empty = scrolling.measure(browser, url)
        print(f"scrolling through it: {gallery}")
        print(f"through an empty page: {empty}")
        print(f"ratio: {gallery.per_second / empty.per_second:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
