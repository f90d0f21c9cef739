// The grid of saved images, which loads more while a person scrolls.

import { listImages } from "./saved_images.js";
import { Tile } from "./tile.js";

const byId = (id) => document.getElementById(id);

export class ImageGrid {
  #list = byId("gallery-grid");
  #more = byId("gallery-more");
  #tiles = [];
  #cursor = null;
  #filter = {};
  // Counts the searches: the answer of an earlier one comes too late.
  #search = 0;
  #refreshes = 0;
  #isLoading = false;
  #observer;

  /**
   * Calls the `view`'s `opened(item)`, `chosen(items)`, `listed(answer)` with each answer of the server, and
   * `failed(error)`.
   */
  constructor(view) {
    this.view = view;
    this.#more.addEventListener("click", () => this.more());
    this.#list.addEventListener("keydown", (event) => this.#move(event));
    // Two screens before the end.
    this.#observer = new IntersectionObserver((seen) => { if (seen.at(-1).isIntersecting) this.more(); }, {
      rootMargin: "0px 0px 200%",
    });
  }

  get items() {
    return this.#tiles.map((tile) => tile.item);
  }

  /** Whether it shows what was searched for, and not all images. */
  get isSearch() {
    return Boolean(this.#filter.query || this.#filter.isFavourite);
  }

  /** Whether there are no more images to load. */
  get isComplete() {
    return this.#cursor === null;
  }

  /** Show the images of another search, or none. */
  search(filter) {
    this.#filter = filter;
    return this.#begin();
  }

  /** Follow what others have added and deleted, or begin again where nothing is known. */
  async refresh() {
    const search = this.#search;
    this.#refreshes += 1;
    const refresh = this.#refreshes;
    const answer = await this.#ask({});
    if (answer === null || search !== this.#search || refresh !== this.#refreshes) return;
    if (!answer.data.some((item) => this.tileOf(item.name))) {
      this.#fill(answer);
      return;
    }
    this.#dropMissing(answer);
    this.add(answer.data);
    this.view.listed(answer);
  }

  /** Load the next page. */
  async more() {
    if (this.#cursor === null || this.#isLoading || this.#more.hidden) return;
    const search = this.#search;
    this.#isLoading = true;
    const answer = await this.#ask({ cursor: this.#cursor });
    this.#isLoading = false;
    if (answer !== null && search === this.#search) this.#append(answer);
    else this.#watchEnd();
  }

  tileOf(name) {
    return this.#tiles.find((tile) => tile.item.name === name);
  }

  /** Return the item so many places after another one, or undefined. */
  neighbour(name, step) {
    const index = this.#tiles.findIndex((tile) => tile.item.name === name);
    // Before somebody comes to its end.
    if (index + step >= this.#tiles.length - 3) this.more();
    return index < 0 ? undefined : this.#tiles[index + step]?.item;
  }

  /** Return the chosen items. */
  chosen() {
    return this.#tiles.filter((tile) => tile.isChosen).map((tile) => tile.item);
  }

  choose(items) {
    for (const tile of this.#tiles) tile.isChosen = items.includes(tile.item);
    this.view.chosen(this.chosen());
  }

  /** Take images out of the grid. */
  remove(items) {
    for (const { name } of items) {
      const tile = this.tileOf(name);
      tile?.element.remove();
      this.#tiles = this.#tiles.filter((one) => one !== tile);
    }
    this.view.chosen(this.chosen());
  }

  /** Put images where they were. */
  add(items) {
    for (const item of items.filter(({ name }) => !this.tileOf(name))) {
      const tile = this.#tileFor(item);
      const found = this.#tiles.findIndex((one) => one.item.created < item.created);
      const index = found < 0 ? this.#tiles.length : found;
      this.#list.insertBefore(tile.element, this.#tiles[index]?.element ?? null);
      this.#tiles.splice(index, 0, tile);
    }
  }

  async #begin() {
    this.#search += 1;
    const search = this.#search;
    const answer = await this.#ask({});
    if (answer !== null && search === this.#search) this.#fill(answer);
  }

  /** Take out what lies within the range of an answer, and is not in it. */
  #dropMissing({ data, next }) {
    const last = next === null ? -1 : this.#tiles.findIndex((tile) => tile.item.name === data.at(-1).name);
    const within = last < 0 ? this.items : this.items.slice(0, last);
    const found = new Set(data.map((item) => item.name));
    this.remove(within.filter((item) => !found.has(item.name)));
  }

  #fill(answer) {
    this.#tiles = [];
    this.#list.replaceChildren();
    this.#append(answer);
    this.view.chosen([]);
  }

  #append(answer) {
    const added = answer.data.filter(({ name }) => !this.tileOf(name)).map((item) => this.#tileFor(item));
    this.#tiles.push(...added);
    this.#list.append(...added.map((tile) => tile.element));
    this.#cursor = answer.next;
    this.#more.hidden = this.#cursor === null;
    this.view.listed(answer);
    this.#watchEnd();
  }

  /** Look again whether the end is near: the browser tells only of changes. */
  #watchEnd() {
    this.#observer.unobserve(this.#more);
    this.#observer.observe(this.#more);
  }

  #tileFor(item) {
    return new Tile(item, {
      opened: (one) => this.view.opened(one),
      changed: () => this.view.chosen(this.chosen()),
      gone: (tile) => this.remove([tile.item]),
      failed: (error) => this.view.failed(error),
    });
  }

  async #ask(page) {
    try {
      return await listImages({ ...this.#filter, ...page });
    } catch (error) {
      this.view.failed(error);
      return null;
    }
  }

  /** Move the focus by the arrow keys. */
  #move(event) {
    const tiles = this.#tiles;
    const index = tiles.findIndex((tile) => tile.element.contains(document.activeElement));
    const columns = tiles.findIndex((tile) => tile.element.offsetTop > tiles[0].element.offsetTop);
    const row = columns < 0 ? tiles.length : columns;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row }[event.key];
    if (step === undefined || index < 0) return;
    event.preventDefault();
    tiles[index + step]?.focus();
  }
}
