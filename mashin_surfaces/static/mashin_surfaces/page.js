// Sends a machine's form over its websocket (subprotocol mashin.v1) and shows the answer in place.
// The page is whole without this: whenever the socket can't be had, the form posts as it is.

import { drawResult, localise, make, parse, speak } from "./values.js";

const root = document.querySelector("[data-responds]"); // not the form: fields shadow its members
const { websocket, responds, words } = root ? root.dataset : {};
const WORDS = JSON.parse(words ?? "{}");
speak(WORDS);
const AS_IS = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/; // a number as JSON has it
const ENDED = [4401, 4403, 4404]; // close codes after which connecting again is no use
const MOST_WAIT = 30; // seconds between attempts

const byId = (id) => document.getElementById(id);

// -- the form as JSON text: digits stay as they were typed ---------------------------------------

function readForm() {
  const parts = [];
  let isGood = true;
  for (const control of root.querySelectorAll("[data-field] [data-type]")) {
    try {
      const json = jsonOf(control);
      if (json !== undefined) parts.push(`${JSON.stringify(control.name)}:${json}`);
    } catch {
      mark(control, WORDS.json);
      isGood = false;
    }
  }
  return isGood ? `{${parts.join(",")}}` : null;
}

function jsonOf(control) {
  const { value } = control;
  if (control.type === "checkbox") return String(control.checked);
  if (value === "") return undefined;
  const { type } = control.dataset;
  if (type === "boolean") return value;
  if (type === "json") JSON.parse(value);
  if (type === "json" || (type === "number" && AS_IS.test(value))) return value;
  return JSON.stringify(type === "number" && Number.isFinite(+value) ? +value : value);
}

// -- what came back ------------------------------------------------------------------------------

function mark(control, message) {
  control.setAttribute("aria-invalid", "true");
  byId(`${control.id}-errors`).append(make("span", "", message));
}

function clear() {
  for (const place of root.querySelectorAll(".field-errors")) place.replaceChildren();
  for (const control of root.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  byId("problem-list").replaceChildren();
  byId("problems").hidden = byId("problem-list").hidden = true;
}

function say(message, isWaiting = false) {
  byId("problem").textContent = message;
  byId("problems").hidden = false;
  byId("problems").classList.toggle("waiting", isWaiting);
}

function showError({ message, details = [], request_id: requestId }) {
  byId("result").hidden = true;
  for (const detail of details) {
    const [name, ...rest] = (detail.path ?? "").split("/").slice(1)
      .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    const control = name && byId(`field-${name}`);
    const steps = rest.map((part) => (/^\d+$/.test(part) ? `#${+part + 1}` : part));
    const where = control ? steps.join(" › ") : name;
    const text = where ? `${where}: ${detail.message}` : detail.message;
    if (control) mark(control, text);
    else byId("problem-list").append(make("li", "", text));
  }
  byId("problem-list").hidden = !byId("problem-list").childElementCount;
  const marked = root.querySelector("[aria-invalid]");
  say(marked ? WORDS.marked : message);
  marked?.focus();
  showRequest(requestId);
}

function showResult(result) {
  byId("result-body").replaceChildren(drawResult(result, JSON.parse(responds)));
  localise(byId("result-body"));
  byId("result").hidden = false;
  byId("result").scrollIntoView({ block: "nearest" });
  showRequest("");
}

function showRequest(id) {
  const place = byId("request");
  if (!place) return;
  place.hidden = !id;
  place.querySelector("code").textContent = id ?? "";
}

// -- the socket ----------------------------------------------------------------------------------

let socket, timer, countdown;
let state = "new"; // connected, asleep (idle too long), reconnecting, offline, gone
let attempts = 0;
let lastId = 0;
let pending = null; // the one question that waits: { id, text, isSent }

function become(next, seconds = 0) {
  state = next;
  clearInterval(countdown);
  const place = byId("connection");
  const [word, left] = place.children;
  place.hidden = state === "gone";
  place.dataset.state = state;
  if (word.textContent !== WORDS[state]) word.textContent = WORDS[state] ?? "";
  const tell = () => {
    left.textContent = seconds > 0 ? WORDS.in.replace("{n}", Math.ceil(seconds--)) : "";
  };
  tell();
  if (seconds > 0) countdown = setInterval(tell, 1000);
}

function connect() {
  clearTimeout(timer);
  socket?.close();
  const url = new URL(websocket, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const own = (socket = new WebSocket(url, "mashin.v1"));
  let isOpen = false;
  own.onopen = () => {
    if (own !== socket) return;
    isOpen = true;
    become("connected");
    flush();
  };
  own.onmessage = ({ data }) => {
    attempts = 0; // not at onopen: a server may accept and close again
    const frame = parse(data);
    if (state === "offline" && own === socket) become("connected");
    if (own !== socket || !pending || String(frame.id) !== String(pending.id)) return;
    settle();
    if (frame.error) showError(frame.error);
    else showResult(frame.result);
  };
  own.onclose = ({ code }) => own === socket && closed(code, isOpen);
}

function closed(code, wasOpen) {
  if (pending?.isSent) {
    settle();
    showError({ message: WORDS.lost }); // never sent twice: it may have been carried out
  }
  if (state === "new" || ENDED.includes(code)) return giveUp();
  if (code === 4408 && !pending) return become("asleep");
  if (!wasOpen) askWhy();
  if (!navigator.onLine) return become("offline");
  const wait = Math.random() * Math.min(MOST_WAIT, 2 ** attempts++); // full jitter
  become("reconnecting", wait);
  timer = setTimeout(connect, wait * 1000);
}

// A browser hides why an upgrade was refused; a plain GET of the same path tells.
async function askWhy() {
  const answer = await fetch(websocket, { cache: "no-store" }).catch(() => null);
  if (answer && [401, 403, 404].includes(answer.status) && state !== "connected") giveUp();
}

function giveUp() {
  clearTimeout(timer);
  socket = null;
  become("gone");
  if (!pending) return;
  settle();
  HTMLFormElement.prototype.submit.call(root.querySelector("form"));
}

function flush() {
  if (!pending || pending.isSent) return;
  clear();
  pending.isSent = true;
  socket.send(pending.text);
}

function settle() {
  pending = null;
  clear();
  root.removeAttribute("aria-busy");
}

function submit(event) {
  if (state === "gone" || state === "new") return; // the form posts
  event.preventDefault();
  if (pending) return;
  clear();
  const input = readForm();
  if (input === null) return root.querySelector("[aria-invalid]").focus();
  lastId += 1;
  pending = { id: lastId, text: `{"id":${lastId},"input":${input}}`, isSent: false };
  root.setAttribute("aria-busy", "true");
  if (state === "connected") return flush();
  say(WORDS.waiting, true);
  connect();
}

if (root) localise(root);
if (websocket) {
  root.addEventListener("submit", submit);
  addEventListener("offline", () => ["connected", "reconnecting"].includes(state) && become("offline"));
  addEventListener("online", () => {
    if (state !== "offline" || pending?.isSent) return;
    attempts = 0;
    become("reconnecting");
    connect();
  });
  connect();
}
