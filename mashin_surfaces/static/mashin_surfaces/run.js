// Follows a run on its page, in the admin or not: the graph by the run's websocket, and what the
// server rendered by asking for it anew. Where the websocket can't be had, all of it is asked for
// every few seconds. The page is whole without this: nodes stand in a table.

import { connectRun } from "./client.js";
import { FreshPage } from "./fresh_page.js";
import { Graph, placer } from "./graph.js";
import { localise, renew } from "./values.js";

const PAUSE = 1000; // milliseconds from a change to the next look at the page, at least
const SOON = 2000; // ... from one look to the next where nothing tells of changes,
const LATE = 10000; // ... and when nothing has changed for some time
const SLOWER = 1.25;
const TOLD = [ // types of entries that change what the server rendered
  "node_state", "run_state", "cost_update", "budget_warning", "human_gate_waiting", "gate_decided",
  "dag_mutated", "execution_complete", "error",
];

const byId = (id) => document.getElementById(id);
const read = (page) => JSON.parse(page.getElementById("run-data")?.textContent ?? "null");
const data = read(document);
const page = new FreshPage();

let graph, client, offset, look;
let wasOpen = false;
let wait = SOON;
let isBlind = false; // no websocket tells of changes
let isOver = false; // nothing changes any more by itself

function show(state) {
  wasOpen ||= state === "open";
  if (!wasOpen && state === "waiting") return client.close(); // not to be had here: the page is asked
  const place = byId("run-live");
  const word = { open: "live", waiting: "lost", refused: "gone", closed: "gone" }[state];
  if (word === undefined) return;
  place.hidden = word === "gone" && isOver;
  place.dataset.state = word;
  if (place.textContent !== data.words[word]) place.textContent = data.words[word];
  isBlind = word === "gone";
  if (isBlind) lookSoon();
}

// -- what is told --------------------------------------------------------------------------------

function heard(entry) {
  if (entry.type === "node_state") graph?.update(entry.node_id, entry.status);
  else if (entry.type === "edge_active") graph?.pass(entry.from, entry.to);
  if (TOLD.includes(entry.type)) changed(entry.offset);
}

function take({ nodes, offset: at }) {
  const now = listed(nodes);
  if (graph?.shows(now)) for (const { id, status } of now) graph.update(id, status);
  else graph?.draw(now);
  changed(at);
}

const listed = (nodes) => Object.entries(nodes).map(([id, node]) => ({ ...node, id }));

async function drawGraph() {
  const dagre = await placer(); // until then the table has it all
  const place = byId("run-graph");
  place.hidden = false;
  graph = new Graph(place, data.states, data.words, dagre);
  graph.draw(client?.snapshot ? listed(client.snapshot.nodes) : data.nodes);
}

// -- what the server rendered --------------------------------------------------------------------

function changed(at) {
  if (!(at > offset)) return;
  offset = at;
  look ??= setTimeout(lookAgain, PAUSE);
}

function lookSoon() {
  if (!isOver) look ??= setTimeout(lookAgain, wait);
}

async function lookAgain() {
  if (document.hidden) { // nobody looks: when somebody does
    document.addEventListener("visibilitychange", lookAgain, { once: true });
    return;
  }
  look = undefined;
  const fresh = await page.ask();
  if (fresh === undefined) return;
  if (fresh) renewAll(fresh);
  if (isBlind) return see(fresh && read(fresh));
  wait = fresh ? SOON : Math.min(LATE, wait * SLOWER); // the server may be on its way back
  if (!fresh) look ??= setTimeout(lookAgain, wait);
}

// What nobody told: the same page has it.
function see(now) {
  const isNew = now?.offset > offset;
  wait = isNew ? SOON : Math.min(LATE, wait * SLOWER);
  if (isNew) {
    data.nodes = now.nodes;
    graph?.draw(now.nodes);
    offset = now.offset;
    isOver = now.is_over;
  }
  byId("run-live").hidden = isOver;
  lookSoon();
}

function renewAll(fresh) {
  document.title = fresh.title;
  if (data.is_local) localise(fresh);
  for (const part of document.querySelectorAll("[data-renewed]")) {
    const other = fresh.getElementById(part.id);
    if (!other || isTypedIn(part)) continue;
    if (isAtHand(part)) {
      for (const event of ["pointerleave", "focusout"]) part.addEventListener(event, lookAgain, { once: true });
    } else renew(part, other);
  }
}

// What somebody is about to send is left alone: the server refuses what is stale.
function isTypedIn(part) {
  return [...part.querySelectorAll("textarea, option")].some((each) =>
    each.matches("option") ? each.selected !== each.defaultSelected : each.value !== each.defaultValue);
}

// No gate takes the place of another while somebody points at it: they would decide what they have
// not read.
function isAtHand(part) {
  return part.id === "run-gates" && part.matches(":has(form):is(:hover, :focus-within)");
}

if (data) {
  if (document.readyState === "complete") drawGraph();
  else addEventListener("load", drawGraph, { once: true });
  offset = data.offset;
  isOver = data.is_over;
  if (data.is_local) localise(document);
  if (data.stream) {
    client = connectRun(data.stream);
    client.connection.addEventListener("state", ({ detail }) => show(detail.state));
    client.addEventListener("snapshot", ({ detail }) => take(detail));
    client.addEventListener("entry", ({ detail }) => heard(detail));
  } else show("closed");
}
