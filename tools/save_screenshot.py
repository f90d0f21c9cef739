"""Write the image of the web page that the README shows, from a running server with the demo model.

    MODEL=demo bash start_server.sh
    .venv/bin/python tools/save_screenshot.py http://127.0.0.1:5000

A second argument names another file. It generates three images, and takes the page while a fourth one is in progress.
The button with the name of the other language needs a font with Chinese letters, such as Debian's fonts-wqy-microhei.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

FILE = Path(__file__).resolve().parent.parent / "docs" / "images" / "web_page.png"
PROMPT = "a yellow house in front of snowy mountains"
IMAGES = 3
LAST = "a red house by the sea"
# Long enough that it is in progress while the image is taken.
LAST_STEPS = 150
WIDTH, HEIGHT = 1300, 900
# Low ones, so that two cards fit.
IMAGE_WIDTH, IMAGE_HEIGHT = 512, 288
TIMEOUT_MS = 120_000


def main(url: str = "http://127.0.0.1:5000", file: str = str(FILE)) -> None:
    """Write the image."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", locale="en-GB")
        page.set_default_timeout(TIMEOUT_MS)
        expect.set_options(timeout=TIMEOUT_MS)
        page.goto(url)
        write(page, Path(file))
        browser.close()
    print(f"{file}: {Path(file).stat().st_size / 1024:.0f} KiB")


def write(page: Page, file: Path) -> None:
    """Generate the images, and write what the page shows then."""
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Exact width").fill(str(IMAGE_WIDTH))
    page.get_by_label("Exact height").fill(str(IMAGE_HEIGHT))
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Images", exact=True).fill(str(IMAGES))
    expect(generate(page, PROMPT)).to_have_attribute("data-state", "done")
    page.get_by_label("Images", exact=True).fill("1")
    page.get_by_label("Steps", exact=True).fill(str(LAST_STEPS))
    card = generate(page, LAST)
    expect(card.locator("figure")).to_have_attribute("data-state", "preview")
    # The head is asked for less often.
    expect(page.locator("#state")).to_contain_text("1 running")
    page.locator("#request").evaluate("(form) => form.scrollTo(0, 0)")
    # The captions of the lowest row are whole.
    box = page.locator(".card").nth(1).bounding_box()
    assert box is not None
    page.set_viewport_size({"width": WIDTH, "height": round(box["y"] + box["height"]) + 16})
    page.screenshot(path=file)
    card.get_by_role("button", name="Cancel").click()


def generate(page: Page, prompt: str) -> Locator:
    """Ask for an image, and return its card."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Generate", exact=True).click()
    card = page.locator(".card").first
    expect(card.get_by_role("heading")).to_have_text(prompt)
    return card


if __name__ == "__main__":
    main(*sys.argv[1:])
