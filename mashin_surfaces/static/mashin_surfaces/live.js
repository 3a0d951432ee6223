// Live values: the page follows the topic that a field of its form names, shows each push, and keeps
// the last numbers. What was missed while the connection was away is asked for when it is back.

import { History } from "./sparkline.js";
import { drawResult, isNumber, localise, make, renew } from "./values.js";

const LOST_FOR_GOOD = ["forbidden", "not_found", "unauthenticated"]; // said without an id: no more
const byId = (id) => document.getElementById(id);

export class Live {
  #control;
  #page;
  #outline;
  #words;
  #topic = "";
  #id = null; // of the subscription that was asked for on this socket
  #asked = 0;
  #isFollowing = false; // ... and granted
  #isPaused = false;
  #isRefused = false;
  #since = null; // the offset of the last push, and the epoch of its log
  #epoch = null;
  #latest = null; // a push that is not drawn yet
  #histories = new Map();
  #retry;

  /**
   * control: the field that names the topic. page: { send(text), isOpen(), connect(), refuse(error),
   * accept() }. outline: the fields of results. words: what is said.
   */
  constructor(control, page, outline, words) {
    this.#control = control;
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

  get #isWanted() {
    return this.#topic !== "" && !this.#isPaused;
  }

  /** Whether there is anything to connect for. */
  get needsConnection() {
    return this.#isWanted && !this.#isRefused;
  }

  // -- the topic ---------------------------------------------------------------------------------

  #follow() {
    const { type, checked, value } = this.#control;
    const topic = type === "checkbox" ? String(checked) : value;
    if (topic === this.#topic) return;
    this.#leave();
    this.#topic = topic;
    this.#since = this.#epoch = this.#latest = null;
    this.#isPaused = false;
    this.#forget();
    byId("live").hidden = true;
    this.#show("joining");
    this.#ask();
  }

  #ask() {
    clearTimeout(this.#retry);
    if (!this.#isWanted) return;
    if (!this.#page.isOpen()) return this.#page.connect();
    this.#asked += 1;
    this.#id = `live-${this.#asked}`;
    const place = this.#since === null ? {} : { since: this.#since, epoch: this.#epoch };
    this.#page.send(JSON.stringify({ id: this.#id, subscribe: this.#topic, ...place }));
  }

  #leave() {
    clearTimeout(this.#retry);
    if (this.#id !== null && this.#page.isOpen()) {
      this.#asked += 1;
      this.#page.send(JSON.stringify({ id: `live-${this.#asked}`, unsubscribe: this.#topic }));
    }
    this.#forgetPlace();
    this.#accept();
  }

  #forgetPlace() {
    this.#id = null;
    this.#isFollowing = false;
  }

  #toggle() {
    this.#isPaused = !this.#isPaused;
    if (this.#isPaused) this.#leave();
    this.#show(this.#isPaused ? "paused" : "joining");
    this.#ask();
  }

  // -- the connection ----------------------------------------------------------------------------

  /** A socket is there: it knows of no topic yet. */
  opened() {
    this.#forgetPlace();
    this.#ask();
  }

  /** The socket is gone; isForGood: none will follow. */
  closed(isForGood) {
    this.#forgetPlace();
    clearTimeout(this.#retry);
    if (isForGood) this.#show("ended");
    else if (this.#isWanted) this.#show("joining");
  }

  /** Whether the frame was about topics. */
  heard(frame) {
    if (frame.topic !== undefined) {
      if (frame.topic === this.#topic && this.#isFollowing) this.#take(frame);
      return true;
    }
    if (frame.id === null && this.#isFollowing && LOST_FOR_GOOD.includes(frame.error?.code)) {
      this.#refuse(frame.error);
      return true;
    }
    if (typeof frame.id !== "string") return false; // questions have numbers
    if (frame.id === this.#id) {
      if (frame.error) this.#refuse(frame.error);
      else this.#begin(frame);
    }
    return true;
  }

  #begin({ offset, epoch, recovered }) {
    if (!recovered) {
      if (this.#since !== null) for (const history of this.#histories.values()) history.miss();
      this.#since = Number(offset);
    }
    this.#epoch = epoch;
    this.#isFollowing = true;
    this.#accept();
    this.#show("live");
    this.#tellMissed();
    byId("live").hidden = false;
  }

  #refuse(error) {
    this.#forgetPlace();
    this.#isRefused = true;
    this.#show("ended");
    this.#page.refuse(error);
    const seconds = Number(error.retry_after);
    if (seconds > 0) this.#retry = setTimeout(() => this.#ask(), seconds * 1000 * (1 + Math.random()));
  }

  /** What was refused before is no longer of interest. */
  #accept() {
    if (this.#isRefused) this.#page.accept();
    this.#isRefused = false;
  }

  // -- what came ---------------------------------------------------------------------------------

  #take(frame) {
    if (frame.offset !== undefined) this.#since = Number(frame.offset);
    if (frame.reset) {
      this.#epoch = frame.epoch;
      this.#latest = null;
      return this.#forget();
    }
    this.#remember(frame.push);
    const isAsked = this.#latest !== null;
    this.#latest = { result: frame.push, offset: frame.offset };
    if (!isAsked) requestAnimationFrame(() => this.#latest && this.#draw());
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
    const trend = (name) => this.#histories.get(name)?.draw(this.#words);
    const drawn = make("div", "", drawResult(result, this.#outline, trend));
    drawn.id = "live-body";
    localise(drawn);
    renew(byId("live-body"), drawn); // in place: what is unfolded, focused or selected stays so
    byId("live-wait").hidden = true;
    this.#tellMissed();
    if (offset !== undefined) byId("live").dataset.offset = offset;
  }

  #tellMissed() {
    byId("live-missed").hidden = ![...this.#histories.values()].some((history) => history.hasMissed);
  }

  /** Nothing has come yet. */
  #forget() {
    this.#histories.clear();
    byId("live-body").replaceChildren();
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
