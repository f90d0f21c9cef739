// What an app has shared to the page: the server puts it into the document, and keeps nothing.

import { asBlob } from "../form/fields.js";

/** Return it once: `{prompt, image, problem}`, an empty string, null and an empty string where there is none; or null. */
export function whatWasShared() {
  const element = document.getElementById("shared");
  if (element === null) return null;
  const { prompt, kind, problem } = element.dataset;
  const content = element.content.textContent;
  element.remove();
  // A reload would share it again.
  history.replaceState(null, "", `./${location.hash}`);
  return { prompt, image: content ? asBlob(content, kind.split("/").pop()) : null, problem };
}
