"""No view of the page breaks a rule of axe-core: names, contrast, roles, landmarks, in light and dark."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_gallery import save
from tests.browser.test_sent_images import bring
from tests.support.images import one_colour

RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"], preload: false });
  const told = (id, { target, html }) => `${id}: ${target.join(" ")}: ${html.slice(0, 120)}`;
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => told(id, node)));
}"""


def views_of(page):
    """Show one view or dialog of the page after another, and yield the name of each."""
    expect(page.locator("#latest img").first).to_be_visible()
    yield "first minute"
    page.locator("#more summary").click()
    page.locator("#prompt").fill("a cat")
    page.locator("#num_inference_steps").fill("2")
    page.locator("#generate").click()
    expect(page.locator(".card")).to_have_attribute("data-state", "done")
    yield "form"
    page.locator("#help").click()
    yield "keys"
    page.locator("#sheet-close").click()
    bring(page, one_colour())
    page.locator("#mask-edit").click()
    expect(page.locator("#mask-editor")).to_be_visible()
    yield "mask editor"
    page.locator("#mask-cancel").click()
    page.evaluate("location.hash = 'gallery'")
    expect(page.locator(".tile img").first).to_be_visible()
    yield "gallery"
    for index in (0, 1):
        page.locator(".tile .choose").nth(index).check()
    page.locator("#gallery-compare").click()
    expect(page.locator("#comparison")).to_be_visible()
    yield "comparison"
    page.locator("#comparison-close").click()
    page.locator(".tile .open").first.click()
    expect(page.locator("#lightbox")).to_be_visible()
    yield "lightbox"
    page.locator("#lightbox-close").click()
    expect(page.locator("#lightbox")).to_be_hidden()
    page.evaluate("location.hash = 'queue'")
    expect(page.locator("#queue-devices li").first).to_be_visible()
    yield "queue"


@pytest.mark.parametrize(("locale", "size"), [("en-GB", (1280, 800)), ("zh-CN", (390, 844))], ids=["large", "phone"])
def test_no_view_breaks_a_rule_of_accessibility(axe, plain_server, opened, locale, size):
    for number in (1, 2):
        save(plain_server, f"an image to look at {number}")
    page = opened(plain_server, locale=locale, viewport={"width": size[0], "height": size[1]})
    expect(page.locator("#num_inference_steps")).to_have_value("20")
    page.evaluate(axe)
    faults = []
    for view in views_of(page):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            faults += [f"{view}, {scheme}: {fault}" for fault in page.evaluate(RUN)]
    assert faults == []


def test_a_broken_rule_would_be_found(axe, plain_server, opened):
    page = opened(plain_server)
    page.evaluate(axe)
    page.evaluate("document.body.append(document.createElement('input'))")
    assert any(fault.startswith("label: ") for fault in page.evaluate(RUN))
