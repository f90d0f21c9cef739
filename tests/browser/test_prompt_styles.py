"""Styles on the page: chips add words to the prompt that is sent, and the one in the form stays as it was written."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_image_edits import sent_with

LANGUAGES = {
    "en-GB": ("a cat", "Watercolour", "Flat vector", "Prompt", "Generate", "Recent prompts", "Again with this seed"),
    "zh-CN": ("一只猫", "水彩", "扁平矢量", "提示词", "生成", "最近的提示词", "用此种子再次生成"),
}


@pytest.mark.parametrize("locale", LANGUAGES)
def test_chips_add_words_in_the_language_of_the_prompt_and_the_history_keeps_what_was_written(
    plain_server, opened, locale
):
    written, one, other, label, generate, recent, again = LANGUAGES[locale]
    offered = plain_server.get("/page/start.json").json()["styles"]
    styles = {style["name"][locale[:2]]: style["words"] for style in offered}
    page = opened(plain_server, locale=locale)
    prompt = page.get_by_label(label, exact=True)
    prompt.fill(written)
    for name in (one, other):
        page.get_by_role("button", name=name, exact=True).click()
    separator = {"en": ", ", "zh": "，"}[locale[:2]]
    words = separator.join(styles[name][locale[:2]] for name in (one, other))
    expect(page.locator("#styles-words")).to_contain_text(words)
    # They are kept with the form.
    page.reload()
    expect(page.get_by_role("button", name=other, exact=True)).to_have_attribute("aria-pressed", "true")
    body = sent_with(page, page.get_by_role("button", name=generate, exact=True).click)
    assert body["prompt"] == written + separator + words
    card = page.locator(".card").first
    expect(card.get_by_role("heading")).to_have_text(body["prompt"])
    expect(prompt).to_have_value(written)
    page.get_by_role("button", name=other, exact=True).click()
    expect(page.locator("#styles-words")).not_to_contain_text(styles[other][locale[:2]])
    page.get_by_text(recent).click()
    expect(page.locator("#recent-list button").first).to_have_text(written)
    # What was sent is what is repeated.
    prompt.fill("x")
    card.get_by_role("button", name=again).click()
    expect(prompt).to_have_value(written)
    expect(page.get_by_role("button", name=other, exact=True)).to_have_attribute("aria-pressed", "true")


def test_a_link_holds_the_words_and_no_style_so_that_they_are_not_added_twice(plain_server, opened):
    page = opened(plain_server)
    page.get_by_label("Prompt", exact=True).fill("a dog")
    page.get_by_role("button", name="Pencil sketch").click()
    sent = sent_with(page, page.get_by_role("button", name="Generate", exact=True).click)
    page.goto(page.locator(".card").get_by_role("link", name="Copy settings link").evaluate("(link) => link.href"))
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(sent["prompt"])
    expect(page.get_by_role("button", name="Pencil sketch")).to_have_attribute("aria-pressed", "false")
