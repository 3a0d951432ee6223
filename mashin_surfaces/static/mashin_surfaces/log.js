// A log as a list of lines, the newest first. However many come, they are drawn once a frame, and the
// list never has more than so many: what is older is on the server.

import { make } from "./values.js";

const MOST = 200; // lines in the list
const MOST_TEXT = 400; // characters of a line

const clock = (time) => {
  const moment = new Date(time.dateTime);
  if (!Number.isNaN(+moment)) time.textContent = moment.toLocaleTimeString();
};

export class Log {
  count = 0; // lines that came since the page was opened
  #list;
  #waiting = [];
  #frame = 0;
  #drawn;

  /** drawn(log): told after each frame in which something was drawn. */
  constructor(list, drawn = () => {}) {
    this.#list = list;
    this.#drawn = drawn;
    list.querySelectorAll("time").forEach(clock);
  }

  get shown() {
    return this.#list.childElementCount;
  }

  /** line: { offset, at (ISO 8601), look, name, text, by }, as log_lines.py has it. */
  add(line) {
    this.count += 1;
    this.#waiting.push(line);
    // A hidden tab has no frames: what would not be seen anyway is not kept for the next one.
    if (this.#waiting.length >= 2 * MOST) this.#waiting.splice(0, MOST);
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** What the server has now, from a fresh page. */
  replace(list) {
    this.#waiting = [];
    this.#list.replaceChildren(...list.children);
    this.#list.querySelectorAll("time").forEach(clock);
  }

  #draw() {
    this.#frame = 0;
    const fresh = this.#waiting.splice(0).slice(-MOST).reverse();
    for (let surplus = this.shown + fresh.length - MOST; surplus > 0; surplus -= 1) {
      this.#list.lastElementChild?.remove();
    }
    this.#list.prepend(...fresh.map(draw));
    this.#drawn(this);
  }
}

function draw({ offset, at, look, name, text, by }) {
  const time = make("time");
  time.dateTime = time.title = at;
  clock(time);
  const line = make("li", "", time, " ", look ? make("span", `state ${look}`, name) : make("b", "", name));
  if (by) line.append(" ", make("span", "by", by));
  line.append(" ", make("code", "", text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}…` : text));
  line.dataset.offset = offset;
  return line;
}

/** JSON in one line; nothing for nothing. */
export const compact = (value) => (value == null ? "" : JSON.stringify(value));
