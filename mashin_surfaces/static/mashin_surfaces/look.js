// Looks at the page anew and renews what the server rendered in it: what has data-renewed and an id.

import { FreshPage } from "./fresh_page.js";
import { localise, renew } from "./values.js";

const PAUSE = 1000; // milliseconds from a change to the next look, at least,
const LATE = 10000; // ... and when something changes all the time
const SLOWER = 1.5;

export class Look {
  #timer;
  #wait = PAUSE;
  #last = 0;
  #page = new FreshPage();
  #look = () => this.#lookAgain(); // one function: who listens to it twice is told once
  #renewed;

  /** renewed(page): told of each fresh page. */
  constructor(renewed = () => {}) {
    this.#renewed = renewed;
  }

  /** Something has changed: look at it, after a moment. */
  soon() {
    if (this.#timer) return;
    const isBusy = performance.now() - this.#last < 2 * this.#wait;
    this.#wait = isBusy ? Math.min(LATE, this.#wait * SLOWER) : PAUSE;
    this.#timer = setTimeout(this.#look, this.#wait);
  }

  /** Look at it as it is from now on: what was asked for before is not shown any more. */
  now() {
    this.#page.forget();
    this.#look();
  }

  async #lookAgain() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (document.hidden) { // nobody looks: when somebody does
      document.addEventListener("visibilitychange", this.#look, { once: true });
      return;
    }
    this.#last = performance.now();
    const fresh = await this.#page.ask();
    if (fresh === null) this.soon(); // the server may be on its way back
    if (!fresh) return;
    localise(fresh);
    for (const part of document.querySelectorAll("[data-renewed]")) {
      const other = fresh.getElementById(part.id);
      if (!other || isTypedIn(part)) continue;
      // Nothing takes another's place while somebody points at it.
      if (part.matches(":has(form):hover")) part.addEventListener("pointerleave", () => this.soon(), { once: true });
      else renew(part, other);
    }
    this.#renewed(fresh);
  }
}

// What somebody is about to send is left alone.
const isTypedIn = (part) =>
  [...part.querySelectorAll("textarea, input")].some((each) => each.value !== each.defaultValue);
