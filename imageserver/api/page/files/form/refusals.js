// What the server refuses in the form, shown at the field that it names.

const byId = (id) => document.getElementById(id);

export class Refusals {
  #form;
  #sentence = byId("refusal");

  constructor(form) {
    this.#form = form;
  }

  /** Show a refusal, and focus its field. */
  show(refusal) {
    this.clear();
    const control = this.#form.elements[fieldOf(refusal.param)];
    const field = this.#shownFieldOf(control);
    control?.closest("details")?.setAttribute("open", "");
    if (field) field.append(this.#sentence);
    else byId("generate").before(this.#sentence);
    this.#sentence.textContent = refusal.message;
    control?.setAttribute("aria-invalid", "true");
    control?.setAttribute("aria-errormessage", "refusal");
    // The list of shapes is hidden behind them.
    (control?.hidden ? field?.querySelector(":checked") : control)?.focus();
    this.#sentence.scrollIntoView({ block: "nearest" });
  }

  /** Return the field of a control, undefined where the form hides it: its model has none. */
  #shownFieldOf(control) {
    const field = control?.closest(".field, fieldset");
    return this.#form.contains(field?.closest("[hidden]")) ? undefined : field;
  }

  /** Return whether a refusal is about something in the form. */
  has(param) {
    const name = fieldOf(param);
    return name === "loras" || this.#form.elements[name] !== undefined;
  }

  /** Clear the last refusal. */
  clear() {
    this.#sentence.textContent = byId("form-note").textContent = "";
    for (const control of this.#form.querySelectorAll("[aria-invalid]")) {
      control.removeAttribute("aria-invalid");
      control.removeAttribute("aria-errormessage");
    }
  }
}

/** Return the field that the server names, perhaps by a part of it such as `loras[0].scale`. */
function fieldOf(param) {
  return param?.split(/[.[]/)[0];
}
