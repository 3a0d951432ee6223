// A panel's page, live: its state and log as the socket tells them, its tools and what waits for an
// answer over the same socket. The page is whole without this: its forms post.

import { connectPanel } from "./client.js";
import { markAll, readFields, unmark } from "./fields.js";
import { compact, Log } from "./log.js";
import { Look } from "./look.js";
import { sentenceOf } from "./refusals.js";
import { showStanding } from "./standing.js";
import { drawResult, drawValue, localise, make, renew, speak } from "./values.js";

const byId = (id) => document.getElementById(id);
const root = byId("panel");
const words = JSON.parse(byId("words").textContent);
const { websocket, offset, epoch } = root.dataset;
speak(words);
localise(document);

let client;
const look = new Look((page) => mustReplace && replaceLog(page));
let mustReplace = false; // the log has a gap: what the server has takes its place
let isDue = false;

const log = new Log(byId("log"), ({ count, shown }) => {
  const place = byId("log-count");
  place.textContent = words.entries.replace("{n}", count.toLocaleString()).replace("{shown}", shown);
  place.hidden = false;
});

// -- what is told --------------------------------------------------------------------------------

// A tool that waits is told when it is the first one; of others their changes tell.
function lookAtWaiting() {
  if (client.status === "suspended") look.soon();
}

function changed() {
  isDue ||= Boolean(requestAnimationFrame(drawState));
}

function drawState() {
  isDue = false;
  const drawn = make("div", "", drawResult(client.state, []));
  drawn.id = "panel-state";
  localise(drawn);
  renew(byId("panel-state"), drawn);
}

function connected({ detail: { recovered } }) {
  root.dataset.live = "";
  changed();
  if (recovered) return;
  log.clear(); // what comes from now on stays, and the server's comes before it
  mustReplace = true;
  look.now();
}

function replaceLog(page) {
  mustReplace = false;
  log.fill(page.getElementById("log"));
}

function patched({ detail: { mutations, offset, by } }) {
  const text = mutations
    .map(({ op, key, value }) =>
      op === "set" ? `${key} = ${JSON.stringify(value)}` : words.deleted.replace("{key}", key))
    .join(", ");
  log.add({ offset, at: new Date().toISOString(), look: "busy", name: words.state, text, by });
  lookAtWaiting();
}

function happened({ detail: { event, offset } }) {
  const at = new Date(event.timestamp).toISOString();
  log.add({ offset, at, look: "", name: event.name, text: compact(event.payload) });
  lookAtWaiting();
}

// -- tools ---------------------------------------------------------------------------------------

const isOpen = () => client?.connection.state === "open";

async function trigger(event, form) {
  if (!isOpen()) return; // the form posts
  event.preventDefault();
  if (form.getAttribute("aria-busy")) return;
  clear(form);
  const text = readFields(form, words.json);
  if (text === null) return form.querySelector("[aria-invalid]").focus();
  const read = JSON.parse(text);
  const args = "json" in form.dataset ? read.args ?? {} : read;
  form.setAttribute("aria-busy", "true");
  showOutcome(form, "busy", words.works);
  try {
    const result = await client.trigger(form.dataset.tool, args, {
      progress: (told) => told.status === "suspended" && told.metrics && suspended(form),
    });
    showResult(form, result);
  } catch (refusal) {
    showRefusal(form, refusal);
  } finally {
    form.removeAttribute("aria-busy");
  }
}

function suspended(form) {
  form.removeAttribute("aria-busy");
  showOutcome(form, "warn", words.suspended);
  look.soon();
}

function showResult(form, { status, returnValue, error }) {
  if (status === "success") showOutcome(form, "good", words.done, "", drawValue(returnValue));
  else if (status === "suspended") suspended(form);
  else showOutcome(form, "bad", words.failed, error?.message);
}

function showOutcome(form, look, word, text = "", value = null) {
  const line = make("p", "", make("span", `state ${look}`, word));
  if (text) line.append(" ", make("span", "text", text));
  const place = form.querySelector(".outcome");
  place.replaceChildren(line, ...(value ? [make("div", "result", value)] : []));
  localise(place);
}

function showRefusal(form, refusal) {
  form.querySelector(".outcome").replaceChildren();
  const others = markAll(form, refusal.details ?? []);
  const marked = form.querySelector("[aria-invalid]");
  const [place, list] = form.querySelector(".problems").children;
  place.textContent = marked ? words.marked : sentenceOf(refusal, words);
  list.replaceChildren(...others.map((text) => make("li", "", text)));
  list.hidden = !others.length;
  form.querySelector(".problems").hidden = false;
  marked?.focus();
}

function clear(form) {
  unmark(form);
  form.querySelector(".problems").hidden = true;
}

// -- what waits ----------------------------------------------------------------------------------

async function answer(event, form) {
  if (!isOpen()) return;
  event.preventDefault();
  const id = new URL(form.action).searchParams.get("answer");
  const given = form.elements.given;
  try {
    if (event.submitter?.value === "error") await client.resume(id, undefined, given.value.trim());
    else await client.resume(id, valueOf(given.value));
  } catch (refusal) {
    byId("problem").textContent = sentenceOf(refusal, words);
    byId("problems").hidden = false;
    return;
  }
  byId("problems").hidden = true;
  form.closest("article").remove();
  byId("content").focus();
  look.soon();
}

// As panel_page.py reads it: JSON, or a text that is none.
function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (/^\s*[[{"]/.test(text)) throw new Error(words.json, { cause: error });
    return text;
  }
}

// -- begin ---------------------------------------------------------------------------------------

if (websocket) {
  client = connectPanel(websocket, { since: Number(offset), epoch });
  showStanding(client.connection, words);
  client.addEventListener("connected", connected);
  client.addEventListener("change", changed);
  client.addEventListener("patch", patched);
  client.addEventListener("event", happened);
  client.addEventListener("status", () => look.soon());
  client.addEventListener("progress", () => look.soon());
  root.addEventListener("submit", (event) => {
    const form = event.target;
    if ("tool" in form.dataset) trigger(event, form);
    else if (form.elements.given) answer(event, form);
  });
}
