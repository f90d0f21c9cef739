// Drives Firefox over WebDriver BiDi: reads a command a line, `[name, …arguments]`, and answers each with a line.

import { createInterface } from "node:readline";

import puppeteer from "puppeteer-core";

const FIND_SECONDS = 30;
const [executablePath, languages] = process.argv.slice(2);
const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath,
  // Emulated screens need a later Firefox than Debian's.
  defaultViewport: null,
  args: ["--width=1280", "--height=800"],
  extraPrefsFirefox: { "intl.accept_languages": languages },
  protocolTimeout: 1000 * FIND_SECONDS,
});
let complaints = [];
let context;
let page;

const commands = {
  /** Open an address as a new visitor would, in place of the page before. */
  async open(url) {
    await context?.close();
    context = await browser.createBrowserContext();
    page = await context.newPage();
    complaints = [];
    page.on("console", (said) => { if (["error", "warn"].includes(said.type())) complaints.push(said.text()); });
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(url);
    // A hidden page shows no previews.
    await page.bringToFront();
  },
  reload: () => page.reload(),
  evaluate: (expression) => page.evaluate(expression),
  press: async (selector) => (await find(selector)).click(),
  async write(selector, text) {
    await commands.press(selector);
    await page.keyboard.down("Control");
    await page.keyboard.press("a");
    await page.keyboard.up("Control");
    await page.keyboard.type(text);
  },
  choose: async (selector, file) => (await find(selector)).uploadFile(file),
  /** Move the mouse between two points of the window with its button down. */
  async drag([left, top], [right, bottom]) {
    await page.mouse.move(left, top);
    await page.mouse.down();
    await page.mouse.move(right, bottom, { steps: 4 });
    await page.mouse.up();
  },
  complaints: () => complaints,
};

/** Return an element once it is there; puppeteer's own waiting compiles text, which the page's policy refuses. */
async function find(selector) {
  for (const deadline = Date.now() + 1000 * FIND_SECONDS; Date.now() < deadline;) {
    const element = await page.$(selector);
    if (element && await element.isVisible()) return element;
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  throw new Error(`There is no ${selector}.`);
}

async function answer(line) {
  const [name, ...given] = JSON.parse(line);
  try {
    return { result: await commands[name](...given) };
  } catch (error) {
    return { error: `${name} ${given}: ${error.stack}` };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(line)));
}
await browser.close();
