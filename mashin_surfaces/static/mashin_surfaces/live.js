// Live values: the page follows the topic that a field of its form names, shows each push, and keeps
// the last numbers. What was missed while the connection was away is asked for when it is back.

import { Chart, plotter } from "./chart.js";
import { History } from "./history.js";
import { drawResult, isNumber, localise, make, renew } from "./values.js";

const byId = (id) => document.getElementById(id);

export class Live {
  #control;
  #client;
  #page;
  #outline;
  #words;
  #topic = "";
  #followed = null; // a subscription of the client
  #place = {}; // where to go on
  #isPaused = false;
  #isRefused = false;
  #latest = null; // a push that is not drawn yet
  #histories = new Map();
  #charts = new Map(); // by the element that they are in
  #plotter; // what they are made with; null while it is on its way

  /**
   * control: the field that names the topic. client: of the machine. page: { refuse(error), accept() }.
   * outline: the fields of results. words: what is said.
   */
  constructor(control, client, page, outline, words) {
    this.#control = control;
    this.#client = client;
    this.#page = page;
    this.#outline = outline;
    this.#words = words;
    if (control.tagName === "SELECT" && control.required && !control.value) {
      control.value = [...control.options].find((option) => option.value)?.value ?? "";
    }
    control.addEventListener("change", () => this.#follow());
    addEventListener("pageshow", () => this.#follow()); // a browser may fill in what was there before
    byId("live-toggle").addEventListener("click", () => this.#toggle());
    this.#follow();
  }

  // -- the topic ---------------------------------------------------------------------------------

  #follow() {
    const { type, checked, value } = this.#control;
    const topic = type === "checkbox" ? String(checked) : value;
    if (topic === this.#topic) return;
    this.#leave();
    this.#topic = topic;
    this.#place = {};
    this.#latest = null;
    this.#isPaused = false;
    this.#forget();
    byId("live").hidden = true;
    this.#show("joining");
    this.#ask();
  }

  #ask() {
    if (this.#topic === "") return;
    const followed = (this.#followed = this.#client.subscribe(this.#topic, this.#place));
    const hear = (type, take) =>
      followed.addEventListener(type, ({ detail }) => followed === this.#followed && take(detail));
    hear("subscribed", (detail) => this.#begin(detail));
    hear("push", (detail) => this.#take(detail));
    hear("reset", () => this.#clear());
    hear("refused", (detail) => this.#refuse(detail));
  }

  #leave() {
    if (this.#followed) {
      const { offset, epoch } = this.#followed;
      this.#place = offset === null ? {} : { since: offset, epoch };
      this.#followed.close();
      this.#followed = null;
    }
    this.#accept();
  }

  #toggle() {
    this.#isPaused = !this.#isPaused;
    this.#show(this.#isPaused ? "paused" : "joining");
    if (this.#isPaused) this.#leave();
    else this.#ask();
  }

  /** The connection has come to this state. */
  stand(state) {
    if (state === "refused" || state === "closed") this.#show("ended");
    else if (state !== "open" && this.#followed && !this.#isRefused) this.#show("joining");
  }

  #begin({ recovered }) {
    if (!recovered) for (const history of this.#histories.values()) history.miss();
    this.#accept();
    this.#show("live");
    this.#tellMissed();
    byId("live").hidden = false;
  }

  #refuse(error) {
    this.#isRefused = true;
    this.#show("ended");
    if (error.code !== "closed") this.#page.refuse(error);
  }

  /** What was refused before is no longer of interest. */
  #accept() {
    if (this.#isRefused) this.#page.accept();
    this.#isRefused = false;
  }

  // -- what came ---------------------------------------------------------------------------------

  #take({ value, offset }) {
    this.#remember(value);
    const isAsked = this.#latest !== null;
    this.#latest = { result: value, offset };
    if (!isAsked) requestAnimationFrame(() => this.#latest && this.#draw());
  }

  #clear() {
    this.#latest = null;
    this.#forget();
  }

  #remember(result) {
    for (const [name, value] of Object.entries(result)) {
      if (isNumber(value) && !this.#histories.has(name)) this.#histories.set(name, new History());
    }
    for (const [name, history] of this.#histories) {
      if (isNumber(result[name])) history.add(result[name]);
      else history.skip();
    }
  }

  #draw() {
    const { result, offset } = this.#latest;
    this.#latest = null;
    const drawn = make("div", "", drawResult(result, this.#outline, (name) => this.#trend(name)));
    drawn.id = "live-body";
    localise(drawn);
    renew(byId("live-body"), drawn); // in place: what is unfolded, focused or selected stays so
    byId("live-wait").hidden = true;
    this.#tellMissed();
    this.#chart();
    if (offset !== null) byId("live").dataset.offset = offset;
  }

  /** What stands under a number: a place for its chart, and its range. */
  #trend(name) {
    const told = this.#histories.get(name)?.tell(this.#words.line);
    if (!told) return null;
    const place = make("div", "chart");
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", told);
    place.dataset.of = name;
    place.dataset.kept = "";
    const range = make("figcaption", "", this.#histories.get(name).tell(this.#words.range));
    range.setAttribute("aria-hidden", "true"); // the picture's text says it, too
    return make("figure", "trend", place, range);
  }

  async #chart() {
    if (!byId("live-body").querySelector(".chart")) return;
    if (this.#plotter === undefined) {
      this.#plotter = null;
      this.#plotter = await plotter();
    }
    if (!this.#plotter) return; // what there is when it comes is drawn then
    for (const place of byId("live-body").querySelectorAll(".chart")) {
      if (!this.#charts.has(place)) this.#charts.set(place, new Chart(place, this.#plotter));
      this.#charts.get(place).show(this.#histories.get(place.dataset.of).numbers);
    }
    this.#sweep();
  }

  /** Charts whose place is gone go, too. */
  #sweep() {
    for (const [place, chart] of this.#charts) {
      if (place.isConnected) continue;
      chart.remove();
      this.#charts.delete(place);
    }
  }

  #tellMissed() {
    byId("live-missed").hidden = ![...this.#histories.values()].some((history) => history.hasMissed);
  }

  /** Nothing has come yet. */
  #forget() {
    this.#histories.clear();
    byId("live-body").replaceChildren();
    this.#sweep();
    byId("live-missed").hidden = true;
    byId("live-wait").hidden = false;
    delete byId("live").dataset.offset;
  }

  #show(state) {
    byId("live").dataset.state = state;
    byId("live-state").textContent = this.#words[state];
    const toggle = byId("live-toggle");
    toggle.hidden = state === "ended";
    toggle.textContent = this.#words[state === "paused" ? "resume" : "pause"];
  }
}
