// Sends a machine's form over its websocket (subprotocol mashin.v1) and shows the answer in place.
// The page is whole without this: whenever the socket can't be had, the form posts as it is.

import { connectMachine } from "./client.js";
import { markAll, readFields, unmark } from "./fields.js";
import { Live } from "./live.js";
import { sentenceOf } from "./refusals.js";
import { showStanding } from "./standing.js";
import { drawResult, localise, make, parse, renew, speak } from "./values.js";

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

function showError({ message, details = [], requestId }, isAnswer = true) {
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

let client, live;
let wasOpen = false;
let pending = null; // the one question that waits: { hasResult: more may come }

const isGone = () => !wasOpen || ["refused", "closed"].includes(client.connection.state);

function stand({ detail: { state } }) {
  wasOpen ||= state === "open";
  if (!wasOpen && state === "waiting") client.close(); // not to be had here: the form does
  if (state === "open" && pending && !pending.hasResult) clear();
  live?.stand(state);
}

async function ask(input) {
  const own = (pending = { hasResult: false });
  root.setAttribute("aria-busy", "true");
  const { connection } = client;
  if (connection.state !== "open") say(WORDS.waiting, true);
  if (["waiting", "idle"].includes(connection.state)) connection.reconnect();
  const take = (result) => own === pending && goOn(result);
  try {
    const result = await client.ask(input, streams === undefined ? undefined : take);
    if (own !== pending) return;
    settle();
    if (!own.hasResult && result !== undefined) showResult(result, true);
  } catch (refusal) {
    if (own !== pending) return;
    settle();
    if (refusal.code === "lost") cut(own.hasResult);
    else if (isGone()) HTMLFormElement.prototype.submit.call(root.querySelector("form"));
    else showError({ ...refusal, message: sentenceOf(refusal, WORDS) });
  }
}

function cut(hasResult) {
  if (hasResult) say(WORDS.cut);
  else showError({ message: WORDS.refusals.lost }); // never sent twice: it may have been carried out
}

function settle() {
  pending = null;
  clear();
  root.removeAttribute("aria-busy");
  byId("result").removeAttribute("aria-busy");
}

// More may come, or never end: another question may be asked, and all is read out at the end.
function goOn(result) {
  showResult(result, !pending.hasResult);
  pending.hasResult = true;
  clear();
  root.removeAttribute("aria-busy");
  byId("result").setAttribute("aria-busy", "true");
}

function submit(event) {
  if (isGone()) return; // the form posts
  event.preventDefault();
  if (pending && !pending.hasResult) return;
  clear();
  const input = readFields(root, WORDS.json);
  if (input === null) return root.querySelector("[aria-invalid]").focus();
  if (pending) {
    pending = null;
    client.connection.reconnect(); // only who leaves ends a stream
  }
  ask(input);
}

if (root) localise(root);
if (websocket) {
  root.addEventListener("submit", submit);
  client = connectMachine(websocket, { parse });
  showStanding(client.connection, WORDS);
  client.connection.addEventListener("state", stand);
  if (byId(`field-${topicField}`) && byId("live")) {
    const page = { refuse: (error) => showError(error, false), accept: clear };
    live = new Live(byId(`field-${topicField}`), client, page, JSON.parse(responds), WORDS);
  }
}
