// A log as a list of lines, the newest first. However many come, they are drawn once a frame, and only
// those in view are in the document (virtual_list.js). So many are held: what is older is on the server.

import { make } from "./values.js";
import { VirtualList } from "./virtual_list.js";

const MOST = 10000; // lines that are held
const MOST_TEXT = 400; // characters of a line

const clock = (time) => {
  const moment = new Date(time.dateTime);
  if (!Number.isNaN(+moment)) time.textContent = moment.toLocaleTimeString();
};

export class Log {
  count = 0; // lines that came since the page was opened
  unseen = 0; // of those that are shown, how many came above what is read
  isCut = false; // whether lines were let go since there were too many
  #held; // the newest last
  #shown; // of these, what the filter leaves
  #isWanted = null;
  #view;
  #frame = 0;
  #drawn;

  /** drawn(log): told after each frame in which there was something new to draw, or `unseen` to tell. */
  constructor(list, drawn = () => {}) {
    this.#drawn = drawn;
    this.#held = this.#shown = linesOf(list);
    this.#view = new VirtualList(list, (line) => line.row ?? draw(line), () => this.#scrolled());
    this.#view.show(this.#shown);
  }

  /** How many lines are held. */
  get held() {
    return this.#held.length;
  }

  /** How many of them are shown. */
  get shown() {
    return this.#shown.length;
  }

  /** The offset of the oldest line that is held. */
  get oldest() {
    return this.#held[0]?.offset;
  }

  /** line: { offset, at (ISO 8601), look, name, text, by }, as log_lines.py has it. What is held already,
   * or was before it, is not taken again. */
  add({ offset, at, look, name, text, by }) {
    if (offset <= this.#held.at(-1)?.offset) return;
    const line = { offset, at, look, name, text: cut(text), by };
    const isWanted = !this.#isWanted || this.#isWanted(line);
    this.count += 1;
    this.#held.push(line);
    if (isWanted) this.unseen += 1;
    if (isWanted && this.#isWanted) this.#shown.push(line);
    if (this.#held.length >= 2 * MOST) this.#cut(); // a hidden tab has no frames
    this.#soon();
  }

  /** Show only the lines that `isWanted` holds for; without it all. */
  filter(isWanted = null) {
    this.#isWanted = isWanted;
    this.#shown = isWanted ? this.#held.filter(isWanted) : this.#held;
    this.toTop();
    this.#soon();
  }

  /** Go to the newest. */
  toTop() {
    this.#view.toTop();
  }

  clear() {
    this.#held = [];
    this.filter(this.#isWanted);
  }

  /** Put what the server has, in a fresh page's list, before what is held. */
  fill(list) {
    const older = linesOf(list).filter(({ offset }) => !this.held || offset < this.oldest);
    this.#held = [...older, ...this.#held];
    this.filter(this.#isWanted);
  }

  #soon() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    this.#cut();
    this.#view.show(this.#shown);
    if (this.#view.isAtTop) this.unseen = 0;
    this.#drawn(this);
  }

  #cut() {
    const surplus = this.#held.length - MOST;
    if (surplus <= 0) return;
    this.isCut = true;
    this.#held.splice(0, surplus);
    if (this.#shown === this.#held) return;
    const kept = this.#shown.findIndex(({ offset }) => offset >= this.oldest);
    this.#shown.splice(0, kept < 0 ? this.#shown.length : kept);
  }

  #scrolled() {
    if (!this.unseen || !this.#view.isAtTop) return;
    this.unseen = 0;
    this.#drawn(this);
  }
}

/** The lines that the server rendered in a list, the newest last. */
function linesOf(list) {
  return [...list.children].reverse().map((row) => {
    row.querySelectorAll("time").forEach(clock);
    const state = row.querySelector(":scope > .state");
    const { textContent: name } = state ?? row.querySelector("b");
    return { offset: Number(row.dataset.offset), look: state ? "state" : "", name, row };
  });
}

function draw({ offset, at, look, name, text, by }) {
  const time = make("time");
  time.dateTime = time.title = at;
  clock(time);
  const line = make("li", "", time, " ", look ? make("span", `state ${look}`, name) : make("b", "", name));
  if (by) line.append(" ", make("span", "by", by));
  line.append(" ", make("code", "", text));
  line.dataset.offset = offset;
  return line;
}

// A slice of a text keeps all of it in memory; its clone does not.
const cut = (text) =>
  text.length > MOST_TEXT ? structuredClone(`${text.slice(0, MOST_TEXT)}…`) : text;

/** JSON in one line; nothing for nothing. */
export const compact = (value) => (value == null ? "" : JSON.stringify(value));
