"""Below a path of a proxy with TLS, the page generates as at the server's own address."""

import pytest
from playwright.sync_api import expect

from tests.support.certificate import HOST
from tests.support.nginx import Nginx

pytestmark = pytest.mark.skipif(Nginx.executable is None, reason="nginx is not installed")


def test_the_page_works_below_a_path(start, browser, tmp_path):
    server = start(TRUSTED_PROXIES="127.0.0.1", ALLOWED_HOSTS=HOST)
    nginx = Nginx(tmp_path, server.port)
    try:
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.goto(nginx.url)
        page.get_by_label("Prompt", exact=True).fill("a red circle")
        page.get_by_role("button", name="Generate").click()
        expect(page.locator(".card").first).to_have_attribute("data-state", "done")
        context.close()
    finally:
        nginx.stop()
