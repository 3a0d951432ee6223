// The last numbers of one result field, and the small line that they make.

import { make } from "./values.js";

const MOST = 300; // numbers that are kept
const FEWEST = 30; // the line has room for so many at least: it does not leap at first
const HEIGHT = 100;
const SKIPPED = Symbol("no number"); // the line is broken here
const MISSED = Symbol("unknown numbers");

const svg = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

export class History {
  #entries = [];

  /** value: a number as `parse` gives it; anything else breaks the line. */
  add(value) {
    this.#keep(Number.isFinite(+value) ? { at: +value, text: String(value) } : SKIPPED);
  }

  skip() {
    this.#keep(SKIPPED);
  }

  /** Here values were missed. */
  miss() {
    this.#keep(MISSED);
  }

  get hasMissed() {
    return this.#entries.includes(MISSED);
  }

  #keep(entry) {
    this.#entries.push(entry);
    if (this.#entries.length > MOST) this.#entries.shift();
  }

  /** words: { line, range }, with {n}, {min}, {max} and {last}. Null: there is no line yet. */
  draw(words) {
    const numbers = this.#entries.filter((entry) => typeof entry === "object");
    if (numbers.length < 2) return null;
    const by = (isBetter) => numbers.reduce((best, one) => (isBetter(one.at, best.at) ? one : best));
    const told = {
      n: numbers.length,
      min: by((one, best) => one < best).text,
      max: by((one, best) => one > best).text,
      last: numbers.at(-1).text,
    };
    const tell = (text) => text.replace(/\{(\w+)\}/g, (all, name) => told[name] ?? all);
    const width = Math.max(this.#entries.length, FEWEST) - 1;
    const line = svg("svg", {
      class: "sparkline",
      role: "img",
      "aria-label": tell(words.line),
      viewBox: `0 0 ${width} ${HEIGHT}`,
      preserveAspectRatio: "none",
    });
    line.append(svg("path", { d: this.#path(+told.min, +told.max) }));
    const range = make("figcaption", "", tell(words.range));
    range.setAttribute("aria-hidden", "true"); // the picture's text says it, too
    return make("figure", "trend", line, range);
  }

  #path(min, max) {
    const height = (at) => (max > min ? HEIGHT * (1 - (at - min) / (max - min)) : HEIGHT / 2);
    const steps = [];
    let isDrawing = false;
    for (const [x, entry] of this.#entries.entries()) {
      if (typeof entry !== "object") {
        isDrawing = false;
        continue;
      }
      const y = +height(entry.at).toFixed(2);
      steps.push(isDrawing ? `L${x},${y}` : `M${x},${y}h0`); // alone, it is a dot
      isDrawing = true;
    }
    return steps.join("");
  }
}
