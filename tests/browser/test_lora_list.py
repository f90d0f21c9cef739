"""The list of LoRAs in the form: searched, and with what the files say of themselves."""

from playwright.sync_api import expect

from tests.support.described_loras import PREVIEW_WIDTH


def test_loras_are_searched_show_their_previews_and_give_their_words_to_the_prompt(plain_server, opened):
    page = opened(plain_server)
    search, prompt = page.get_by_label("Search LoRAs"), page.get_by_label("Prompt", exact=True)
    shown = page.locator(".lora:visible")
    expect(shown).to_have_count(9)
    prompt.fill("a cat")
    search.fill("FOLDED pap")
    expect(shown).to_have_count(1)
    search.press("Enter")
    expect(page.locator(".card")).to_have_count(0)
    expect(shown.locator("img")).to_have_js_property("naturalWidth", PREVIEW_WIDTH)
    for _ in range(2):
        shown.get_by_role("button", name="paper cut").click()
        expect(prompt).to_have_value("a cat, paper cut")
    shown.get_by_role("checkbox", name="paper").check()
    search.fill("style-1")
    expect(shown.locator(".name")).to_have_text(["paper", "style-1"])
    page.get_by_role("checkbox", name="paper").uncheck()
    search.fill("no such words")
    expect(page.get_by_text("No LoRA has these words.")).to_be_visible()


def test_a_slow_line_does_not_wait_for_previews(plain_server):
    start = plain_server.get("/page/start.json")
    assert {lora["id"] for lora in start.json()["loras"] if lora["has_preview"]} == {"paper"}
    assert "data:image" not in start.text
