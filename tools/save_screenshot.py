"""Write the image of the web page that the README shows, from a running server with the demo model.

    MODEL=demo bash start_server.sh
    .venv/bin/python tools/save_screenshot.py http://127.0.0.1:5000

It generates four images, and takes the page while a fifth one is in progress.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

FILE = Path(__file__).resolve().parent.parent / "docs" / "images" / "web_page.png"
PROMPTS = [
    "a white cat on green grass",
    "two green stars on a black background",
    "a yellow house in front of snowy mountains",
    "a red circle on a blue background",
]
LAST = "a red house by the sea"
# Long enough that it is in progress while the image is taken.
LAST_STEPS = 150
WIDTH, HEIGHT = 1200, 900
TIMEOUT_MS = 120_000


def main(url: str) -> None:
    """Write the image."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", locale="en-GB")
        page.set_default_timeout(TIMEOUT_MS)
        expect.set_options(timeout=TIMEOUT_MS)
        page.goto(url)
        write(page)
        browser.close()
    print(f"{FILE.name}: {FILE.stat().st_size / 1024:.0f} KiB")


def write(page: Page) -> None:
    """Generate the images, and write what the page shows then."""
    page.get_by_role("radio", name="s1:1").check()
    for prompt in PROMPTS:
        expect(generate(page, prompt)).to_have_attribute("data-state", "done")
    page.get_by_label("Steps", exact=True).fill(str(LAST_STEPS))
    card = generate(page, LAST)
    expect(card.locator("figure")).to_have_attribute("data-state", "preview")
    # The captions of the lowest row are whole.
    box = page.locator(".card").nth(1).bounding_box()
    height = min(HEIGHT, round(box["y"] + box["height"]) + 16) if box else HEIGHT
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.screenshot(path=FILE)
    card.get_by_role("button", name="Cancel").click()


def generate(page: Page, prompt: str) -> Locator:
    """Ask for an image, and return its card."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Generate", exact=True).click()
    card = page.locator(".card").first
    expect(card.get_by_role("heading")).to_have_text(prompt)
    return card


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5000")
