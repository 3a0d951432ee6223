// The last numbers of one result field, and what is said of them. How they look is chart.js's business.

const MOST = 300; // numbers that are kept
const SKIPPED = Symbol("no number"); // the line is broken here
const MISSED = Symbol("unknown numbers");

const isKnown = (entry) => typeof entry === "object";

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

  /** The numbers, the oldest first; null where the line is broken. */
  get numbers() {
    return this.#entries.map((entry) => (isKnown(entry) ? entry.at : null));
  }

  #keep(entry) {
    this.#entries.push(entry);
    if (this.#entries.length > MOST) this.#entries.shift();
  }

  /** text: with {n}, {min}, {max} and {last}. Null: there are not two numbers yet. */
  tell(text) {
    const numbers = this.#entries.filter(isKnown);
    if (numbers.length < 2) return null;
    const by = (isBetter) => numbers.reduce((best, one) => (isBetter(one.at, best.at) ? one : best));
    const told = {
      n: numbers.length,
      min: by((one, best) => one < best).text,
      max: by((one, best) => one > best).text,
      last: numbers.at(-1).text,
    };
    return text.replace(/\{(\w+)\}/g, (all, name) => told[name] ?? all);
  }
}
