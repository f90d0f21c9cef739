"""The page speaks the language of its browser, and its address says which view is shown."""

import pytest
from playwright.sync_api import expect

# The page hears of it before the next one.
GO_TO = """(fragment) => new Promise((done) => {
  addEventListener("hashchange", done, { once: true });
  location.hash = fragment;
})"""
ADD_VIEWS = """async () => {
  const { Navigation } = await import("/page/shell/navigation.js");
  const { addTexts } = await import("/page/language/text.js");
  addTexts((await import("/page/shell/texts.js")).default);
  document.getElementById("views").replaceChildren();
  window.seen = [];
  const navigation = new Navigation({ add: () => {} });
  const view = (name, more) => ({
    name, title: "view.create", element: document.body.appendChild(document.createElement("div")),
    show: (rest) => window.seen.push(`show ${name} ${rest}`), hide: () => window.seen.push(`hide ${name}`), ...more,
  });
  const third = view("three", { isServed: (info) => info.three });
  for (const each of [view("one"), view("two"), third]) navigation.add(each);
  window.navigation2 = navigation;
}"""


SPANS = """async () => {
  const { addTexts } = await import("/page/language/text.js");
  addTexts((await import("/page/jobs/texts.js")).default);
  const { spanOf } = await import("/page/jobs/times.js");
  return [7 * 86400, 86400, 5400, 3600, 1200].map(spanOf);
}"""


@pytest.fixture(scope="module")
def server(start):
    # Without the only view that the page has beside the form.
    return start(GALLERY="0")


def test_a_chinese_browser_gets_a_chinese_page_and_a_choice_of_english_is_kept(server, opened):
    page = opened(server, locale="zh-CN")
    expect(page.get_by_label("步数", exact=True)).to_have_value("20")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    page.get_by_label("提示词", exact=True).fill("一只猫")
    page.get_by_label("步数", exact=True).fill("2")
    page.get_by_role("button", name="生成").click()
    card = page.locator(".card").first
    expect(card).to_have_attribute("data-state", "done")
    expect(card.locator(".seed")).to_contain_text("种子")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("2")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("一只猫")
    expect(page.locator(".card .seed")).to_contain_text("seed")
    again = page.context.new_page()
    again.goto(server.url)
    expect(again.get_by_role("button", name="Generate")).to_be_visible()
    assert again.evaluate("document.documentElement.lang") == "en"


def test_a_time_below_a_day_is_said_in_hours_and_minutes(server, opened):
    assert opened(server).evaluate(SPANS) == ["7 days", "1 day", "1.5 hours", "1 hour", "20 minutes"]
    in_chinese = opened(server, locale="zh-CN").evaluate(SPANS)
    assert in_chinese == ["7 天", "1 天", "1.5 小时", "1 小时", "20 分钟"]


def test_the_fragment_names_the_view_and_what_is_not_served_is_not_offered(server, opened):
    page = opened(server)
    expect(page.get_by_label("Steps")).to_have_value("20")
    expect(page.locator("#views a[aria-current=page]")).to_have_attribute("href", "#create")
    expect(page.locator("#examples button")).to_have_count(3)
    expect(page.locator("#latest")).to_be_hidden()
    page.evaluate(ADD_VIEWS)
    expect(page.locator("#views a:visible")).to_have_count(2)
    page.locator("#views a").nth(1).click()
    expect(page.locator("#views a[aria-current=page]")).to_have_attribute("href", "#two")
    for fragment in ("two/7", "prompt=a+cat", "three"):
        page.evaluate(GO_TO, fragment)
    page.evaluate("navigation2.offer({ three: true })")
    expect(page.locator("#views a[aria-current=page]")).to_have_attribute("href", "#three")
    assert page.evaluate("window.seen") == [
        "show one ", "show one ", "show one ", "hide one", "show two ", "show two 7", "hide two", "show one ",
        "show one ", "hide one", "show three ",
    ]  # fmt: skip
