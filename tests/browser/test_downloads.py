"""Models that a download brings: their size is said before, and then its progress, until they can be chosen."""

from playwright.sync_api import expect

from tests.support.keys import ADMIN_KEY, USER_KEY

NAME = "sd-1.5"


def test_a_model_is_downloaded_after_its_size_was_said_and_can_then_be_chosen(keyed_server, opened):
    page = opened(keyed_server, excused="401")
    page.get_by_label("API key").fill(ADMIN_KEY)
    page.get_by_role("button", name="Use this key").click()
    page.get_by_text("Other models").click()
    row = page.locator("#downloads-list li").filter(has_text=NAME)
    expect(row).to_contain_text("GB")
    row.get_by_role("button", name=f"Download {NAME}").click()
    expect(row.get_by_role("progressbar")).to_be_visible()
    expect(row).to_have_count(0)
    page.get_by_label("Model", exact=True).select_option(NAME)
    expect(page.get_by_text("For what you send from here.")).to_be_visible()
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    assert keyed_server.get(f"/v1/models/{NAME}", headers=headers).json()["loaded"]


def test_a_user_is_offered_no_downloads(keyed_server):
    start = keyed_server.get("/page/start.json", headers={"Authorization": f"Bearer {USER_KEY}"}).json()
    assert (start["is_admin"], start["downloads"]) == (False, [])
