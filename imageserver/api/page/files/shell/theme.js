// Light or dark colours: as the system has them, or as its user has chosen.

import { readPreference, writePreference } from "../storage/preferences.js";

/** Follow the choice in a list whose values are `light`, `dark`, and nothing for the system's. */
export function followTheme(select) {
  const apply = () => { document.documentElement.dataset.theme = select.value; };
  select.value = readPreference("theme");
  apply();
  select.addEventListener("change", () => {
    writePreference("theme", select.value);
    apply();
  });
}
