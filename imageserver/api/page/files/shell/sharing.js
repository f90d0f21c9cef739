// Addresses of this page for others: handed to another app on a phone, or copied.

import { text } from "../language/text.js";

/** Copy a text from a field, which shows it, and return whether the browser lets the page do it. */
export async function copyFrom(field, content) {
  field.value = content;
  field.hidden = false;
  field.focus();
  field.select();
  // It begins with what to do.
  field.scrollTop = 0;
  try {
    await navigator.clipboard.writeText(content);
    return true;
  } catch {
    // Over http a page has no clipboard.
    return document.execCommand("copy");
  }
}

/** Let a click on a link with settings copy its address and call `say(sentence)`, and leave this page as it is. */
export function copyOnClick(link, field, say) {
  link.addEventListener("click", async (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    say(await copyAddress(link.hash, field, "share.settings.copied"));
  });
}

/** Copy the address with a fragment, and return what to say; the field stays where a person must copy it. */
async function copyAddress(fragment, field, copied = "share.copied") {
  const button = document.activeElement;
  const isCopied = await copyFrom(field, addressOf(fragment));
  field.hidden = isCopied;
  if (isCopied) button.focus();
  return text(isCopied ? copied : "share.yourself");
}

/** Hand the address of an image in the gallery to another app on a phone, or copy it; returns what to say. */
export async function shareImage({ name, prompt }, field) {
  const fragment = `#gallery/${name}`;
  // Where there is a mouse, the windows that browsers open instead are slower than a paste.
  if (!navigator.share || !matchMedia("(pointer: coarse)").matches) return copyAddress(fragment, field);
  try {
    await navigator.share({ title: prompt, url: addressOf(fragment) });
    return "";
  } catch (error) {
    return error.name === "AbortError" ? "" : copyAddress(fragment, field);
  }
}

function addressOf(fragment) {
  return new URL(fragment, location).href;
}
