// The page's websocket: opened, opened again when it was lost, given up when that is no use. What
// goes over it is left to page.js, live.js and run.js.

import { parse } from "./values.js";

const ENDED = [4401, 4403, 4404]; // close codes after which connecting again is no use
const IDLE = 4408; // ... and the one of a server to which nothing was said for long
const MOST_WAIT = 30; // seconds between attempts

/**
 * path: of the websocket. events: what is called when something happens: opened(); heard(frame);
 * lost(); changed(state, seconds until the next attempt); and what is asked: isNeeded(): a socket
 * that the server put to sleep is to be had again at once; isWaiting(): an answer is on its way.
 * protocols: the subprotocols that are offered.
 */
export class Connection {
  state = "new"; // connected, asleep (idle too long), reconnecting, offline, gone
  #path;
  #events;
  #protocols;
  #socket = null;
  #timer;
  #attempts = 0;

  constructor(path, events, protocols = ["mashin.v1"]) {
    this.#path = path;
    this.#events = events;
    this.#protocols = protocols;
    addEventListener("offline", () =>
      ["connected", "reconnecting"].includes(this.state) && this.#become("offline"));
    addEventListener("online", () => {
      if (this.state !== "offline" || events.isWaiting()) return;
      this.#attempts = 0;
      this.#become("reconnecting");
      this.open();
    });
  }

  get isOpen() {
    return this.state === "connected";
  }

  /** Anew: an older socket is closed. */
  open() {
    clearTimeout(this.#timer);
    this.#socket?.close();
    const url = new URL(this.#path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const own = (this.#socket = new WebSocket(url, this.#protocols));
    let wasOpen = false;
    own.onopen = () => {
      if (own !== this.#socket) return;
      wasOpen = true;
      this.#opened();
    };
    own.onmessage = ({ data }) => {
      if (own !== this.#socket) return;
      this.#attempts = 0; // not at onopen: a server may accept and close again
      this.#events.heard(parse(data));
      if (this.state === "offline") this.#opened(); // it was not, or not for long
    };
    own.onclose = ({ code }) => own === this.#socket && this.#closed(code, wasOpen);
  }

  send(text) {
    this.#socket.send(text);
  }

  #opened() {
    this.#become("connected");
    this.#events.opened();
  }

  #closed(code, wasOpen) {
    this.#events.lost();
    if (this.state === "new" || ENDED.includes(code)) return this.#giveUp();
    if (code === IDLE && !this.#events.isNeeded()) return this.#become("asleep");
    if (!wasOpen) this.#askWhy();
    if (!navigator.onLine) return this.#become("offline");
    const wait = Math.random() * Math.min(MOST_WAIT, 2 ** this.#attempts++); // full jitter
    this.#become("reconnecting", wait);
    this.#timer = setTimeout(() => this.open(), wait * 1000);
  }

  // A browser hides why an upgrade was refused; a plain GET of the same path tells.
  async #askWhy() {
    const answer = await fetch(this.#path, { cache: "no-store" }).catch(() => null);
    if (answer && [401, 403, 404].includes(answer.status) && !this.isOpen) this.#giveUp();
  }

  #giveUp() {
    clearTimeout(this.#timer);
    this.#socket = null;
    this.#become("gone");
  }

  #become(state, seconds = 0) {
    this.state = state;
    this.#events.changed(state, seconds);
  }
}
