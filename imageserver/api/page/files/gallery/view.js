// The view of all saved images: a grid, a search, and what can be done with one or with several.

import { localAddress } from "../jobs/image.js";
import { text } from "../language/text.js";
import { Refusal, UNREACHABLE, open } from "../shell/server.js";
import { savedLayers } from "../layers/saved.js";
import { Deletion } from "./deletion.js";
import { ImageGrid } from "./grid.js";
import { Lightbox } from "./lightbox.js";
import { findImage, mark } from "./saved_images.js";
import { linkOf, requestOf, sizeOf, unusedOf } from "./settings.js";
import { showSummary } from "./summary.js";
import { ZipDownload } from "./zip_download.js";

const TYPING_SECONDS = 0.3;

const byId = (id) => document.getElementById(id);

export class GalleryView {
  name = "gallery";
  title = "view.gallery";
  element = byId("gallery");

  #page;
  #isShown = false;
  // Whether the lightbox was opened from the grid, to which the browser's history leads back.
  #isFromGrid = false;
  #sizes = {};
  #kept = { undo_seconds: 60, shared: true };
  #typing = null;
  #grid = new ImageGrid({
    opened: (item) => this.#open(item),
    chosen: (items) => this.#showChosen(items),
    listed: (answer) => this.#showListed(answer),
    failed: (error) => this.#fail(error),
  });
  #lightbox = new Lightbox({
    neighbour: (item, step) => this.#grid.neighbour(item.name, step),
    moved: (item) => this.#move(item),
    closed: () => this.#close(),
    marked: (item) => this.#mark(item),
    removed: (item) => this.#removeShown(item),
    renewed: (name) => this.#renew(name),
    startedFrom: (address) => this.#startFrom(address),
    linked: (item) => linkOf(item, this.#sizes),
    used: (part, item) => this.#use(part, item),
    separated: (item) => this.#showLayers(item),
    said: (sentence) => { byId("lightbox-said").textContent = sentence; },
  });
  #deletion = new Deletion({
    removed: (items) => {
      this.#grid.remove(items);
      this.#grid.refresh();
    },
    restored: (items) => this.#showRestored(items),
    lost: (count) => this.#say(text(count === 1 ? "gallery.lost.one" : "gallery.lost", { count })),
    failed: (error) => this.#fail(error),
  });

  /** `page` is what the parts of the page ask of it: see main.js. */
  constructor(page) {
    this.#page = page;
    byId("gallery-search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#search();
    });
    byId("gallery-query").addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#search(), 1000 * TYPING_SECONDS);
    });
    byId("gallery-favourites").addEventListener("change", () => this.#search());
    new ZipDownload({
      chosen: () => this.#grid.chosen(),
      said: (sentence) => this.#say(sentence),
      failed: (error) => this.#fail(error),
    });
    byId("gallery-compare").addEventListener("click", () => this.#compare());
    byId("gallery-delete").addEventListener("click", () => this.#remove(this.#grid.chosen()));
    byId("gallery-none").addEventListener("click", () => {
      this.#grid.choose([]);
      byId("gallery-title").focus();
    });
  }

  /** Return whether the server keeps a gallery; its answer also says what sizes the form can set. */
  isServed({ gallery, aspect_ratio_sizes: sizes }) {
    this.#sizes = sizes;
    return gallery;
  }

  /** Show the grid, and the image of this name where there is one. */
  async show(name) {
    if (!this.#isShown) this.#grid.refresh();
    this.#isShown = true;
    if (name) await this.#showImage(name);
    else this.#hideImage();
  }

  hide() {
    this.#isShown = false;
    this.#page.comparison.hide();
    this.#leaveLightbox();
  }

  #leaveLightbox() {
    this.#lightbox.hide();
    this.#deletion.moveTo(this.element);
  }

  #compare() {
    const [first, second] = this.#grid.chosen().map(asCompared).toReversed();
    this.#page.comparison.show(first, second);
  }

  #search() {
    clearTimeout(this.#typing);
    const [query, isFavourite] = [byId("gallery-query").value.trim(), byId("gallery-favourites").checked];
    return this.#grid.search({ query, isFavourite });
  }

  #open(item) {
    this.#isFromGrid = true;
    location.hash = `${this.name}/${item.name}`;
  }

  async #showImage(name) {
    try {
      const item = this.#grid.tileOf(name)?.item ?? (await findImage(name));
      if (!this.#isShown) return;
      this.#lightbox.show(item, !this.#kept.shared);
      this.#deletion.moveTo(byId("lightbox-side"));
    } catch (error) {
      // Above the grid, not in the image that may be open still.
      this.#hideImage();
      this.#fail(error);
      history.replaceState(null, "", `#${this.name}`);
    }
  }

  #hideImage() {
    if (!this.#lightbox.isOpen) return;
    this.#leaveLightbox();
    // The image that was shown last, which need not be the one that was opened.
    (this.#grid.tileOf(this.#lightbox.item.name) ?? byId("gallery-title")).focus();
  }

  #move(item) {
    history.replaceState(null, "", `#${this.name}/${item.name}`);
    this.#lightbox.show(item, !this.#kept.shared);
  }

  #close() {
    if (this.#isFromGrid) history.back();
    else location.hash = this.name;
    this.#isFromGrid = false;
  }

  /** Mark an image, which is in the grid too unless it was opened by its address. */
  async #mark(item) {
    const isFavourite = !item.favourite;
    try {
      await mark(item.name, isFavourite);
    } catch (error) {
      this.#fail(error);
      return;
    }
    item.favourite = isFavourite;
    const tile = this.#grid.tileOf(item.name);
    if (tile) tile.isFavourite = isFavourite;
  }

  /** Return an image with its addresses of now; one that is gone leaves the grid. */
  async #renew(name) {
    try {
      return await findImage(name);
    } catch (error) {
      if (error.status === 404) this.#grid.remove([{ name }]);
      this.#fail(error);
      return null;
    }
  }

  /** Delete the image in the lightbox, and show its neighbour. */
  async #removeShown(item) {
    const next = this.#grid.neighbour(item.name, 1) ?? this.#grid.neighbour(item.name, -1);
    const removed = await this.#remove([item]);
    // Somebody may have gone on meanwhile.
    if (!removed.length || !this.#lightbox.isOpen || this.#lightbox.item.name !== item.name) return;
    if (next) this.#move(next);
    else this.#close();
  }

  async #remove(items) {
    const removed = await this.#deletion.delete(items, this.#kept.undo_seconds);
    const place = byId(byId("gallery-undo").hidden ? "gallery-title" : "gallery-undo-button");
    if (removed.length && !this.#lightbox.isOpen) place.focus();
    return removed;
  }

  #showRestored(items) {
    this.#grid.add(items);
    this.#grid.refresh();
    const first = this.#grid.tileOf(items[0]?.name);
    if (!this.#lightbox.isOpen) (first ?? byId("gallery-title")).focus();
    else if (first) {
      this.#move(first.item);
      byId("lightbox-close").focus();
    }
  }

  async #startFrom(address) {
    try {
      this.#page.startFrom(await (await open(address)).blob());
    } catch (error) {
      this.#fail(error);
    }
  }

  async #showLayers(item) {
    try {
      this.#page.layers.show(await savedLayers(item), item.prompt);
    } catch (error) {
      this.#fail(error);
    }
  }

  #use(part, item) {
    const { prompt, negative_prompt: negative, seed } = item.settings;
    if (part === "all") this.#page.useSettings(requestOf(item, this.#sizes), String(seed), unusedOf(item));
    else if (part === "prompt") this.#page.useValues({ prompt, negative_prompt: negative.trim() });
    else if (part === "seed") this.#page.useValues({ seed: String(seed), random: false });
    else this.#page.useValues(sizeOf(item.settings, this.#sizes));
  }

  #showChosen(items) {
    byId("gallery-chosen").hidden = items.length === 0;
    byId("gallery-chosen-count").textContent = text("gallery.chosen", { count: items.length });
    byId("gallery-compare").disabled = items.length !== 2;
  }

  #showListed(answer) {
    this.#kept = answer.kept;
    showSummary(answer, this.#grid);
    // One that was opened by its address may be in the grid now, and have other neighbours.
    if (this.#lightbox.isOpen) this.#lightbox.update(this.#grid.tileOf(this.#lightbox.item.name)?.item);
  }

  #say(sentence) {
    byId(this.#lightbox.isOpen ? "lightbox-said" : "gallery-said").textContent = sentence;
  }

  #fail(error) {
    if (error instanceof Refusal && error.status !== 401 && error.code !== UNREACHABLE) this.#say(error.message);
    else this.#page.fail(error);
  }
}

function asCompared(item) {
  const seed = text("jobs.image.seed", { seed: item.settings.seed });
  return { ...item, address: localAddress(item.url), caption: `${item.prompt} · ${seed}` };
}
