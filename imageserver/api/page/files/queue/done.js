// How a person learns that an image is done: by the page's title, and by a sound and a notification where wanted.

import { text } from "../language/text.js";
import { readPreference, writePreference } from "../storage/preferences.js";

const SOUND = "done sound";
const NOTIFICATION = "done notification";
const TONES = [660, 880];
const TONE_SECONDS = 0.14;
const LOUDNESS = 0.12;

const byId = (id) => document.getElementById(id);

export class DoneNotice {
  #sound = byId("done-sound");
  #notification = byId("done-notification");
  #title = null;
  #count = 0;
  #audio = null;

  constructor() {
    this.#sound.checked = readPreference(SOUND) === true;
    this.#sound.addEventListener("change", () => {
      writePreference(SOUND, this.#sound.checked);
      if (this.#sound.checked) this.#play();
    });
    // Browsers notify from pages over https and of this machine only.
    const canNotify = window.isSecureContext && "Notification" in window;
    byId("done-notification-field").hidden = !canNotify;
    this.#notification.checked = canNotify && readPreference(NOTIFICATION) === true && Notification.permission === "granted";
    this.#notification.addEventListener("change", () => this.#chooseNotification());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#restoreTitle(); });
  }

  /** Say that the request with this prompt is done. */
  say(prompt) {
    if (this.#sound.checked) this.#play();
    if (!document.hidden) return;
    this.#title ??= document.title;
    this.#count += 1;
    document.title = text("queue.done.title", { count: this.#count, title: this.#title });
    if (this.#notification.checked) notify(prompt);
  }

  #restoreTitle() {
    if (this.#title !== null) document.title = this.#title;
    this.#title = null;
    this.#count = 0;
  }

  async #chooseNotification() {
    if (this.#notification.checked && (await Notification.requestPermission()) !== "granted") {
      this.#notification.checked = false;
      byId("done-note").textContent = text("queue.done.denied");
    }
    writePreference(NOTIFICATION, this.#notification.checked);
  }

  async #play() {
    // Browsers are silent until a person does something on the page: what is meant for now is not to be heard later.
    if (navigator.userActivation?.hasBeenActive === false) return;
    this.#audio ??= new AudioContext();
    await this.#audio.resume();
    TONES.forEach((frequency, index) => {
      const start = this.#audio.currentTime + index * TONE_SECONDS;
      const tone = new OscillatorNode(this.#audio, { frequency });
      tone.connect(new GainNode(this.#audio, { gain: LOUDNESS })).connect(this.#audio.destination);
      tone.start(start);
      tone.stop(start + TONE_SECONDS);
    });
  }
}

function notify(prompt) {
  try {
    new Notification(text("queue.done.notice"), { body: prompt, icon: "page/icon.svg" });
  } catch {
    // On phones only a service worker may notify.
  }
}
