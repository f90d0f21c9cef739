"""The page installed on a phone: what other apps share to it, and the edges of a screen that are not its own."""

import json
import re
from urllib.parse import urljoin

from playwright.sync_api import expect

from tests.browser.test_gallery import save
from tests.support.images import one_colour

PHONE = {"width": 390, "height": 844}
# In points, as of a phone with a notch and a bar to swipe home with.
EDGES = {"top": 47, "bottom": 34, "left": 0, "right": 0}


def test_what_an_app_shares_is_in_the_form_and_not_in_the_address(plain_server, opened):
    page = opened(plain_server, viewport=PHONE)
    share(page, plain_server, "a shared cat", one_colour())
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a shared cat")
    expect(page.get_by_alt_text("The image to start from")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"^{plain_server.url}/(#create)?$"))
    page.get_by_role("button", name="Start without an image").click()
    # It is not shared again.
    page.reload()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("20")
    expect(page.get_by_alt_text("The image to start from")).to_be_hidden()


def test_what_an_app_shares_waits_for_what_the_form_s_own_model_can_do(plain_server, opened):
    assert plain_server.post({"prompt": "a cat", "model": "demo", "num_inference_steps": 1}).ok
    page = opened(plain_server, viewport=PHONE)
    page.get_by_label("Model", exact=True).select_option("demo")
    share(page, plain_server, "another shared cat", one_colour())
    expect(page.get_by_label("Model", exact=True)).to_have_value("demo")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("another shared cat")
    expect(page.get_by_alt_text("The image to start from")).to_be_visible()


def test_nothing_to_press_lies_under_the_notch_or_the_bar_to_swipe_home_with(plain_server, opened):
    name = save(plain_server, "a cat")
    page = opened(plain_server, viewport=PHONE)
    page.context.new_cdp_session(page).send("Emulation.setSafeAreaInsetsOverride", {"insets": EDGES})
    expect(page.get_by_label("Steps", exact=True)).to_have_value("20")
    generate = page.get_by_role("button", name="Generate", exact=True).bounding_box()
    assert generate["y"] + generate["height"] <= PHONE["height"] - EDGES["bottom"]
    # Only what covers the page is there: the bar itself goes to the end of the screen.
    bar = page.locator("#sending").bounding_box()
    assert round(bar["y"] + bar["height"]) == PHONE["height"]
    assert page.get_by_role("heading", level=1).bounding_box()["y"] >= EDGES["top"]
    page.evaluate(f"location.hash = 'gallery/{name}'")
    expect(page.locator("#lightbox")).to_be_visible()
    for button in page.locator("#lightbox .lightbox-bar button:visible").all():
        assert button.bounding_box()["y"] >= EDGES["top"]


def test_a_browser_finds_no_fault_with_what_installs_the_page_as_an_app(plain_server, opened):
    page = opened(plain_server, viewport=PHONE)
    found = page.context.new_cdp_session(page).send("Page.getAppManifest")
    assert found["errors"] == []
    manifest = json.loads(found["data"])
    assert urljoin(found["url"], manifest["start_url"]) == f"{plain_server.url}/"
    assert manifest["display"] == "standalone"
    for icon in manifest["icons"]:
        assert page.request.get(urljoin(found["url"], icon["src"])).headers["content-type"].startswith(icon["type"])


def share(page, server, text, image):
    """Open the page as an app does that shares a text and an image to it."""
    manifest = urljoin(server.url, page.locator("link[rel=manifest]").get_attribute("href"))
    target = json.loads(page.request.get(manifest).text())["share_target"]
    assert (target["method"], target["enctype"]) == ("POST", "multipart/form-data")
    name = target["params"]["files"][0]["name"]
    body = {target["params"]["text"]: text.encode(), name: image}
    address = urljoin(manifest, target["action"])
    # No program installs the page here: the browser's own navigation becomes the request that the manifest describes.
    page.route(
        address,
        lambda route: route.continue_(
            method="POST",
            post_data=form(body, files={name}),
            headers=route.request.headers | {"content-type": "multipart/form-data; boundary=b", "origin": "null"},
        ),
    )
    page.goto(address)
    page.unroute_all()


def form(parts, files):
    """Return a form as its bytes."""
    heads = {name: f'; filename="{name}"\r\nContent-Type: image/png' if name in files else "" for name in parts}
    return b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"{heads[name]}\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in parts.items()
    ) + b"--b--\r\n"  # fmt: skip
