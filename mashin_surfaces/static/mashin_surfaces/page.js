// Sends a machine's form over its websocket (subprotocol mashin.v1) and shows the answer in place.
// The page is whole without this: whenever the socket can't be had, the form posts as it is.

import { Connection } from "./connection.js";
import { markAll, readFields, unmark } from "./fields.js";
import { Live } from "./live.js";
import { drawResult, localise, make, renew, speak } from "./values.js";

const root = document.querySelector("[data-responds]"); // not the form: fields shadow its members
const { websocket, topicField, streams, responds, words } = root ? root.dataset : {};
const WORDS = JSON.parse(words ?? "{}");
speak(WORDS);

const byId = (id) => document.getElementById(id);

// -- what came back ------------------------------------------------------------------------------

function clear() {
  unmark(root);
  byId("problem-list").replaceChildren();
  byId("problems").hidden = byId("problem-list").hidden = true;
}

function say(message, isWaiting = false) {
  byId("problem").textContent = message;
  byId("problems").hidden = false;
  byId("problems").classList.toggle("waiting", isWaiting);
}

function showError({ message, details = [], request_id: requestId }, isAnswer = true) {
  if (isAnswer) byId("result").hidden = true;
  byId("problem-list").append(...markAll(root, details).map((text) => make("li", "", text)));
  byId("problem-list").hidden = !byId("problem-list").childElementCount;
  const marked = root.querySelector("[aria-invalid]");
  say(marked ? WORDS.marked : message);
  if (isAnswer) marked?.focus();
  showRequest(requestId);
}

function showResult(result, isFirst) {
  const drawn = make("div", "", drawResult(result, JSON.parse(responds)));
  drawn.id = "result-body";
  localise(drawn);
  if (isFirst) byId("result-body").replaceWith(drawn);
  else renew(byId("result-body"), drawn);
  byId("result").hidden = false;
  if (isFirst) byId("result").scrollIntoView({ block: "nearest" });
  showRequest("");
}

function showRequest(id) {
  const place = byId("request");
  if (!place) return;
  place.hidden = !id;
  place.querySelector("code").textContent = id ?? "";
}

// -- questions -----------------------------------------------------------------------------------

let connection, countdown, live;
let lastId = 0;
let pending = null; // the one question that waits: { id, text, isSent, hasResult: more may come }

function changed(state, seconds) {
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
  if (state === "gone") gone();
}

function opened() {
  flush();
  live?.opened();
}

function heard(frame) {
  if (live?.heard(frame) || !pending || String(frame.id) !== String(pending.id)) return;
  if (frame.error) {
    settle();
    showError(frame.error);
  } else if (frame.done) {
    settle();
  } else {
    const isFirst = !pending.hasResult;
    if (streams === undefined) settle();
    else goOn();
    showResult(frame.result, isFirst);
  }
}

function lost() {
  live?.closed(false);
  if (!pending?.isSent) return;
  const { hasResult } = pending;
  settle();
  if (hasResult) say(WORDS.cut);
  else showError({ message: WORDS.lost }); // never sent twice: it may have been carried out
}

function gone() {
  live?.closed(true);
  if (!pending) return;
  settle();
  HTMLFormElement.prototype.submit.call(root.querySelector("form"));
}

function flush() {
  if (!pending || pending.isSent) return;
  clear();
  pending.isSent = true;
  connection.send(pending.text);
}

function settle() {
  pending = null;
  clear();
  root.removeAttribute("aria-busy");
  byId("result").removeAttribute("aria-busy");
}

// More may come, or never end: another question may be asked, and all is read out at the end.
function goOn() {
  pending.hasResult = true;
  clear();
  root.removeAttribute("aria-busy");
  byId("result").setAttribute("aria-busy", "true");
}

function submit(event) {
  if (["gone", "new"].includes(connection.state)) return; // the form posts
  event.preventDefault();
  if (pending && !pending.hasResult) return;
  clear();
  const input = readFields(root, WORDS.json);
  if (input === null) return root.querySelector("[aria-invalid]").focus();
  const isStreaming = pending !== null; // only who leaves ends it
  lastId += 1;
  pending = { id: lastId, text: `{"id":${lastId},"input":${input}}`, isSent: false, hasResult: false };
  root.setAttribute("aria-busy", "true");
  if (connection.isOpen && !isStreaming) return flush();
  say(WORDS.waiting, true);
  connection.open();
}

function followTopics() {
  const page = {
    send: (text) => connection.send(text),
    isOpen: () => connection.isOpen,
    connect: () => connection.state === "asleep" && connection.open(),
    refuse: (error) => showError(error, false),
    accept: clear,
  };
  live = new Live(byId(`field-${topicField}`), page, JSON.parse(responds), WORDS);
}

if (root) localise(root);
if (websocket) {
  root.addEventListener("submit", submit);
  connection = new Connection(websocket, {
    changed, heard, lost, opened,
    isNeeded: () => pending !== null || Boolean(live?.needsConnection),
    isWaiting: () => Boolean(pending?.isSent),
  });
  if (byId(`field-${topicField}`) && byId("live")) followTopics();
  connection.open();
}
