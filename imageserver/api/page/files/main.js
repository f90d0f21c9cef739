// The page: its views, the server's state, and the key that the server may require.

import { CreateView } from "./create/view.js";
import { GalleryView } from "./gallery/view.js";
import { addTexts, offerOtherLanguage, translate } from "./language/text.js";
import { TEXTS } from "./language/texts.js";
import { KeyForm } from "./shell/key.js";
import { Navigation } from "./shell/navigation.js";
import { Refusal, UNREACHABLE, ask } from "./shell/server.js";
import { ServerState } from "./shell/server_state.js";

// How often the page polls the server, while something happens and while nothing does.
const BUSY_SECONDS = 1.5;
const IDLE_SECONDS = 6;

const byId = (id) => document.getElementById(id);

for (const texts of TEXTS) addTexts(texts);
translate(document);
offerOtherLanguage(byId("language"));

/** What the views may ask of the page. */
const page = {
  /** Say a sentence to those who hear the page. */
  announce: (sentence) => { byId("announcement").textContent = sentence; },
  /** Show that the server refused a request for its key, or does not answer; other refusals are the view's. */
  fail: (error) => showFailure(error),
  /** Return whether the server requires a key, and ask for it then. */
  isLocked: () => {
    if (key.isAsking) key.focus();
    return key.isAsking;
  },
  /** Offer the views that the server has, as `GET /info` describes it. */
  offer: (info) => navigation.offer(info),
  /** Fill the form with settings, as a card's request has them, and a seed, and show it. */
  useSettings: (request, seed) => {
    navigation.open(create.name);
    create.useSettings(request, seed);
  },
  /** Write some values into the form, by the names of its fields, and show it. */
  useValues: (values) => {
    navigation.open(create.name);
    create.useValues(values);
  },
  /** Show the form, which starts from an image, a Blob. */
  startFrom: (blob) => {
    navigation.open(create.name);
    create.startFrom(blob);
  },
  pollNow: () => pollAfter(0),
  pollSoon: () => pollAfter(BUSY_SECONDS),
};

const state = new ServerState(page.announce);
const key = new KeyForm(() => {
  create.focus();
  create.forget();
  poll();
});
const create = new CreateView(page);
const navigation = new Navigation();
navigation.add(create);
navigation.add(new GalleryView(page));

let timer = null;

async function poll() {
  clearTimeout(timer);
  let busy = true;
  try {
    const health = await ask("health");
    busy = health.status !== "healthy" || create.isBusy;
    state.show(health, create.loading);
    if (!key.isAsking) await create.update(health);
  } catch (error) {
    showFailure(error);
  }
  pollAfter(busy ? BUSY_SECONDS : IDLE_SECONDS);
}

function pollAfter(delay) {
  clearTimeout(timer);
  timer = setTimeout(poll, 1000 * delay);
}

function showFailure(error) {
  if (error.status === 401) key.ask(error.message);
  else if (error.code === UNREACHABLE) {
    create.forget();
    state.showUnreachable(create.isBusy);
  } else if (!(error instanceof Refusal)) throw error;
}

poll();
