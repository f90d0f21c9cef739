// What stands above the grid: how many images there are, and where and how long they are kept.

import { spanOf } from "../jobs/times.js";
import { text } from "../language/text.js";

const byId = (id) => document.getElementById(id);

/** Show what an answer says of all images, and of those in the grid. */
export function showSummary({ kept, total }, { items, isSearch, isComplete }) {
  const values = { folder: kept.folder, time: spanOf(kept.max_age), megabytes: kept.max_mb };
  const sentences = [text(kept.favourites_kept ? "gallery.kept.favourites" : "gallery.kept", values)];
  if (kept.shared) sentences.push(text("gallery.shared"));
  byId("gallery-kept").textContent = sentences.join(text("gallery.separator"));
  const all = text(total === 1 ? "gallery.total.one" : "gallery.total", { count: total });
  const found = isComplete ? items.length : `${items.length}+`;
  byId("gallery-total").textContent = isSearch ? text("gallery.total.found", { all, found }) : all;
  byId("gallery-zip-all").hidden = total === 0;
  byId("gallery-empty").hidden = items.length > 0;
  byId("gallery-empty").textContent = text(total ? "gallery.none" : "gallery.empty");
}
