// The page: its views, the server's state, and the key that the server may require.

// First, so that all texts stand together: gzip finds more in them then.
import { TEXTS } from "./language/texts.js";
import { CreateView } from "./create/view.js";
import { Comparison } from "./gallery/comparison.js";
import { GalleryView } from "./gallery/view.js";
import { addTexts, offerOtherLanguage, text, translate } from "./language/text.js";
import { LayerStack } from "./layers/stack.js";
import { DoneNotice } from "./queue/done.js";
import { QueueView } from "./queue/view.js";
import { KeyForm } from "./shell/key.js";
import { Keyboard } from "./shell/keyboard.js";
import { Navigation } from "./shell/navigation.js";
import { keepOpenLists, openKeptLists } from "./shell/open_lists.js";
import { Refusal, UNREACHABLE, ask, forget, hasKey } from "./shell/server.js";
import { ServerState } from "./shell/server_state.js";
import { followTheme } from "./shell/theme.js";
import { forgetFormImages } from "./storage/memory.js";

// How often the page polls the server, while something happens and while nothing does.
const BUSY_SECONDS = 1.5;
const IDLE_SECONDS = 6;

const byId = (id) => document.getElementById(id);

// Before the views: one whose name is in the address is shown when it is added, and may poll.
let timer = null;
// Whether the page knows what the form depends on, and for which default model.
let isKnown = false;
let model = null;

for (const texts of TEXTS) addTexts(texts);
translate(document);
offerOtherLanguage(byId("language"), keepOpenLists);
openKeptLists();
followTheme(byId("theme"));

/** What the views may ask of the page. */
const page = {
  /** Say a sentence to those who hear the page. */
  announce: (sentence) => { byId("announcement").textContent = sentence; },
  /** Show that the server refused a request for its key, or does not answer; other refusals are the view's. */
  fail: (error) => showFailure(error),
  /** Return whether the server requires a key, and ask for it then. */
  isLocked: () => {
    if (key.isOpen) key.focus();
    return key.isOpen;
  },
  /** Keys that work everywhere: `add(key, sentence, action)`. */
  keyboard: new Keyboard(),
  /**
   * Fill the form with settings, as a card's request has them, and a seed, show it, and name what it has no field for;
   * return whether it has all.
   */
  useSettings: (request, seed, unused) => {
    navigation.open(create.name);
    return create.useSettings(request, seed, unused);
  },
  /** Write some values into the form, by the names of its fields, and show it. */
  useValues: (values) => {
    navigation.open(create.name);
    create.useValues(values);
  },
  /** Show the form. */
  showForm: () => navigation.open(create.name),
  /** Show the form, which starts from an image, a Blob. */
  startFrom: (blob) => {
    navigation.open(create.name);
    create.startFrom(blob);
  },
  /** Compare two images: `show(first, second)` and `hide()`. */
  comparison: new Comparison(),
  /** Show layers over each other: `show(addresses, prompt)`. */
  layers: new LayerStack(),
  /** Say that the request with this prompt is done. */
  done: (prompt) => doneNotice.say(prompt),
  /** Return the numbers of this browser's jobs that are under way. */
  ownJobs: () => create.ownJobs,
  /** Return the prompt that this browser has sent for a job, by its number, or undefined. */
  promptOf: (number) => create.promptOf(number),
  /** Learn again what the form depends on. */
  learn: () => {
    isKnown = false;
    pollAfter(0);
  },
  pollNow: () => pollAfter(0),
  pollSoon: () => pollAfter(BUSY_SECONDS),
};

const state = new ServerState(page.announce);
const key = new KeyForm((isOther) => {
  if (isOther) create.leaveUnsent();
  isKnown = false;
  poll();
});
const doneNotice = new DoneNotice();
const create = new CreateView(page);
const queue = new QueueView(page);
const navigation = new Navigation(page.keyboard);
navigation.add(create);
navigation.add(new GalleryView(page));
navigation.add(queue);

page.keyboard.add("/", text("keys.prompt"), () => {
  navigation.open(create.name);
  create.focus();
});
page.keyboard.list("Ctrl + Enter", text("keys.generate"));
page.keyboard.list("Tab, Shift + Tab", text("keys.next"));
page.keyboard.list("← → + − 0", text("gallery.keys"));
page.keyboard.list("B, E, [ ], I, Ctrl + Z, + −", text("mask.keys"));
page.keyboard.list("Esc", text("keys.leave"));
byId("key-forget").hidden = !hasKey();
byId("key-forget").addEventListener("click", async () => {
  create.forgetUnsent();
  const dropped = forgetFormImages();
  forget();
  // A page that is gone drops nothing more.
  await dropped;
  location.reload();
});

async function poll() {
  clearTimeout(timer);
  let busy = true;
  try {
    const health = await askForState();
    busy = health.status !== "healthy" || create.isBusy || queue.isShown;
    state.show(health, create.loading);
    if (!key.isOpen) {
      await create.refresh();
      await queue.update(health);
    }
  } catch (error) {
    showFailure(error);
  } finally {
    pollAfter(busy ? BUSY_SECONDS : IDLE_SECONDS);
  }
}

/** Return what /health says, and learn what the form depends on at the start, or when it may have changed. */
async function askForState() {
  if (isKnown || key.isAsking) {
    const health = await ask("health");
    const { model_id: name } = health.generator_info;
    if (key.isAsking || name === null || name === model) return health;
  }
  const start = await askForStart();
  if (start === null) return ask("health");
  if (key.accept()) create.focus();
  byId("key-forget").hidden = !hasKey();
  create.describe(start);
  if (start.info !== null) navigation.offer(start.info);
  isKnown = true;
  model = start.info?.model_name ?? null;
  return start.health;
}

/** Return what the form depends on, or ask for a key and return null. */
async function askForStart() {
  try {
    return await ask("page/start.json");
  } catch (error) {
    if (error.status !== 401) throw error;
    key.ask(error.message);
    return null;
  }
}

function pollAfter(delay) {
  clearTimeout(timer);
  timer = setTimeout(poll, 1000 * delay);
}

function showFailure(error) {
  if (error.status === 401) key.ask(error.message);
  else if (error.code === UNREACHABLE) {
    isKnown = false;
    state.showUnreachable(create.isBusy);
  } else if (!(error instanceof Refusal)) throw error;
}

poll();
