// An incubator's page, live: its log as the socket tells it, and the rest by looking at the page anew
// when something has changed. The page is whole without this: its forms post.

import { connectIncubator } from "./client.js";
import { markAll, readFields, unmark } from "./fields.js";
import { compact, Log } from "./log.js";
import { Look } from "./look.js";
import { sentenceOf } from "./refusals.js";
import { showStanding } from "./standing.js";
import { localise, speak } from "./values.js";

const byId = (id) => document.getElementById(id);
const root = byId("bus");
const words = JSON.parse(byId("words").textContent);
const { websocket, offset, epoch, types } = root.dataset;
speak(words);
localise(document);
const isPast = "past" in root.dataset; // what came before some entry: nothing is added to that

let client, metrics;
let head = Number(offset); // the last entry that was told
let mustReplace = false; // the log was cleared, or has a gap: what the server has takes its place
const look = new Look((page) => mustReplace && replaceLog(page));
const log = new Log(byId("log"), ({ count, shown }) => {
  byId("log-empty")?.remove();
  showPosition();
  const place = byId("log-count");
  place.textContent = words.entries.replace("{n}", count.toLocaleString()).replace("{shown}", shown);
  place.hidden = false;
});

// -- what is told --------------------------------------------------------------------------------

const LINES = {
  event: ({ event_type, data, agent_id }) => ["", event_type, compact(data), agent_id],
  state_changed: ({ key, value, deleted, agent_id }) => [
    "busy", words.state, deleted ? words.deleted.replace("{key}", key) : `${key} = ${JSON.stringify(value)}`, agent_id,
  ],
  claim_changed: ({ resource, status, owner }) => ["good", words.claim, `${resource}: ${status}`, owner],
  control: ({ command, reason, by }) => ["warn", command, reason, by],
};

function showPosition() {
  const place = byId("log-position");
  place.textContent = words.position
    .replace("{head}", head).replace("{from}", place.dataset.from);
}

function told({ detail: entry }) {
  head = entry.id;
  if (entry.type !== "event") look.soon();
  if (isPast || (types && entry.type !== "event") || !LINES[entry.type]) return;
  const [look_, name, text, by] = LINES[entry.type](entry);
  const at = entry.timestamp ?? new Date().toISOString();
  log.add({ offset: entry.id, at, look: look_, name, text: text ?? "", by });
}

// A log that is read for the first time, or is not what it was, is the server's again.
function lostTrack(message) {
  const place = byId("log-missed");
  place.textContent = message;
  place.hidden = false;
  mustReplace = true;
  look.now();
}

function replaceLog(page) {
  mustReplace = false;
  log.replace(page.getElementById("log"));
}

function counted({ detail }) {
  const now = JSON.stringify(detail);
  if (now !== metrics) look.soon();
  metrics = now;
}

// -- what is sent --------------------------------------------------------------------------------

async function send(event, form) {
  if (client.connection.state !== "open") return; // the form posts
  event.preventDefault();
  unmark(form);
  byId("problems").hidden = true;
  try {
    if (form.id === "publish") await publish(form);
    else await client.control(event.submitter.value, form.elements.reason.value);
  } catch (refusal) {
    const others = markAll(form, refusal.details ?? []);
    byId("problem").textContent = form.querySelector("[aria-invalid]") ? words.marked : [sentenceOf(refusal, words), ...others].join(" ");
    byId("problems").hidden = false;
    form.querySelector("[aria-invalid]")?.focus();
  }
}

async function publish(form) {
  const text = readFields(form, words.json);
  if (text === null) return form.querySelector("[aria-invalid]").focus();
  const { event, data } = JSON.parse(text);
  await client.publish(event, data);
  form.reset();
  form.elements.event.focus();
}

// -- begin ---------------------------------------------------------------------------------------

if (websocket) {
  client = connectIncubator(websocket, {
    since: Number(offset), epoch, ...(types ? { types: [types] } : {}),
  });
  showStanding(client.connection, words);
  client.addEventListener("entry", told);
  client.addEventListener("replay_done", () => { root.dataset.live = ""; });
  client.addEventListener("metrics", counted);
  client.addEventListener("gap", () => lostTrack(words.missed));
  client.addEventListener("reset", ({ detail }) => lostTrack(words.reset.replace("{by}", detail.by)));
  root.addEventListener("submit", (event) => {
    if (event.target.method === "post") send(event, event.target);
  });
}
