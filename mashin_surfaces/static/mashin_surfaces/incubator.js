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

let client, metrics, wasOpen;
let head = Number(offset); // the last entry that is known of
let reached = Number(byId("log-position").dataset.reached); // the last entry that was told
let isIncomplete = false; // the log was cleared, or has a gap: what the server has comes before it
const look = new Look(looked);
const log = new Log(byId("log"), showLog);

// -- what is told --------------------------------------------------------------------------------

const LINES = {
  event: ({ event_type, data, agent_id }) => ["", event_type, compact(data), agent_id],
  state_changed: ({ key, value, deleted, agent_id }) => [
    "busy", words.state, deleted ? words.deleted.replace("{key}", key) : `${key} = ${JSON.stringify(value)}`, agent_id,
  ],
  claim_changed: ({ resource, status, owner }) => ["good", words.claim, `${resource}: ${status}`, owner],
  control: ({ command, reason, by }) => ["warn", command, reason, by],
};

function told({ detail: entry }) {
  reach(entry.id);
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
  isIncomplete = true;
  log.clear();
  look.now();
}

function looked(page) {
  byId("log-position").dataset.from = page.getElementById("log-position").dataset.from;
  const now = page.getElementById("bus").dataset;
  head = Math.max(head, now.offset);
  showPosition();
  if (!isIncomplete || now.epoch !== client.epoch) return; // it was on its way when the bus was reset
  isIncomplete = false;
  log.fill(page.getElementById("log"));
}

function counted({ detail }) {
  const now = JSON.stringify(detail);
  if (now !== metrics) look.soon();
  metrics = now;
}

// -- where it is ---------------------------------------------------------------------------------

function reach(entry) {
  if (!isPast) reached = Math.max(reached, entry);
  head = Math.max(head, entry);
}

function stands({ detail: { state } }) {
  if (state === "open") {
    if (wasOpen) look.soon(); // what is no entry has changed meanwhile, too
    wasOpen = true;
  } else delete root.dataset.live;
}

function replayed({ detail }) {
  reach(detail.cursor);
  root.dataset.live = "";
  showPosition();
}

function showPosition() {
  const place = byId("log-position");
  // Behind a filter not every entry is told: once the replay is done, none is missing.
  const at = types && !isPast && "live" in root.dataset ? head : reached;
  place.textContent = words.position
    .replace("{at}", at).replace("{head}", head).replace("{from}", place.dataset.from);
}

function showLog({ count, held, shown, unseen, oldest, isCut }) {
  if (held) byId("log-empty")?.remove();
  showPosition();
  const number = (n) => n.toLocaleString(document.documentElement.lang);
  const place = byId("log-count");
  place.textContent = byId("filter-type").value === (types ?? "")
    ? words.held.replace("{n}", number(count)).replace("{held}", number(held))
    : words.matching.replace("{n}", number(shown)).replace("{held}", number(held));
  place.hidden = false;
  const newer = byId("log-newer");
  newer.textContent = words.newer.replace("{n}", number(unseen));
  newer.hidden = !unseen;
  if (isCut) showOlder(oldest - 1);
}

/** The server goes on where the list ends. */
function showOlder(before) {
  const link = byId("log-older");
  const url = new URL(link.href);
  url.searchParams.set("before", before);
  link.href = url;
  link.hidden = false;
}

function showNewest() {
  log.toTop();
  byId("log").focus();
}

// What is typed filters what is held by how types begin; sent, it is the server's to look for.
function filter({ target: { value } }) {
  const wanted = value.trim().replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^.]*");
  const begins = new RegExp(`^${wanted}`);
  log.filter(wanted === "" ? null : ({ look, name }) => look === "" && begins.test(name));
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

byId("log-newer").addEventListener("click", showNewest);
byId("filter-type").addEventListener("input", filter);
if (websocket) {
  if (!isPast) showLog(log); // now, lest it moves the list down when something comes
  client = connectIncubator(websocket, {
    since: Number(offset), epoch, ...(types ? { types: [types] } : {}),
  });
  showStanding(client.connection, words);
  client.addEventListener("entry", told);
  client.connection.addEventListener("state", stands);
  client.addEventListener("replay_done", replayed);
  client.addEventListener("metrics", counted);
  client.addEventListener("gap", () => lostTrack(words.missed));
  client.addEventListener("reset", ({ detail }) => lostTrack(words.reset.replace("{by}", detail.by)));
  root.addEventListener("submit", (event) => {
    if (event.target.method === "post") send(event, event.target);
  });
}
