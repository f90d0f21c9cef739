// The views of the page: one is shown at a time, and the address's fragment names it.

import { text } from "../language/text.js";

export class Navigation {
  #bar = document.getElementById("views");
  #views = [];
  #shown = null;

  #keyboard;

  /** The views get the keys 1, 2, 3 and so on of the `keyboard`. */
  constructor(keyboard) {
    this.#keyboard = keyboard;
    addEventListener("hashchange", () => this.#follow());
  }

  /**
   * Add a view; the first one is shown where the fragment names none.
   *
   * It has a `name` for the fragment, a `title` (the key of a text) and an `element`. It may have `show(rest)`, called
   * with what follows the name and a slash in the fragment whenever that changes, `hide()`, and `isServed(info)`: without
   * it the view is always there, with it once it returns true for the answer of `GET /info`.
   */
  add(view) {
    const link = document.createElement("a");
    link.href = `#${view.name}`;
    link.textContent = text(view.title);
    link.hidden = view.isServed !== undefined;
    view.element.hidden = this.#views.length > 0;
    this.#views.push({ view, link });
    this.#bar.append(link);
    const sentence = text("keys.view", { title: text(view.title) });
    this.#keyboard.add(String(this.#views.length), sentence, () => { if (!link.hidden) this.open(view.name); });
    this.#follow();
  }

  /** Offer the views that the server has, as `GET /info` describes it. */
  offer(info) {
    for (const { view, link } of this.#views) link.hidden = !(view.isServed?.(info) ?? true);
    this.#follow();
  }

  /** Show a view by its name. */
  open(name) {
    location.hash = name;
    // At once: what is hidden cannot have the focus.
    this.#follow();
  }

  #follow() {
    const [name, ...rest] = location.hash.slice(1).split("/");
    const offered = this.#views.filter(({ link }) => !link.hidden);
    this.#bar.hidden = offered.length < 2;
    this.#show(offered.find(({ view }) => view.name === name) ?? this.#views[0], rest.join("/"));
  }

  #show(entry, rest) {
    const { view, link } = entry;
    if (this.#shown !== entry) {
      this.#shown?.view.hide?.();
      for (const other of this.#views) {
        other.view.element.hidden = other !== entry;
        other.link.removeAttribute("aria-current");
      }
      this.#shown = entry;
      link.setAttribute("aria-current", "page");
      document.title = this.#views[0] === entry ? "qwen-image-server" : `${text(view.title)} · qwen-image-server`;
    }
    view.show?.(rest);
  }
}
