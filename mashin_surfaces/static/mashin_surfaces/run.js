// Follows a run on its page of the admin: the graph by the run's websocket, and what the server
// rendered by asking for it anew. The page is whole without this: nodes stand in a table.

import { Connection } from "./connection.js";
import { Graph } from "./graph.js";
import { renew } from "./values.js";

const PAUSE = 1000; // milliseconds from a change to the next look at the page, at least
const TOLD = [ // types of messages that change what the server rendered
  "node_state", "run_state", "cost_update", "budget_warning", "human_gate_waiting", "gate_decided",
  "dag_mutated", "execution_complete", "error",
];

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("run-data")?.textContent ?? "null");

let graph, connection, offset, look;

function show(state) {
  const place = byId("run-live");
  const word = { connected: "live", reconnecting: "lost", offline: "lost", gone: "gone" }[state];
  if (word === undefined) return;
  place.hidden = false;
  place.dataset.state = word;
  if (place.textContent !== data.words[word]) place.textContent = data.words[word];
}

// -- what is told --------------------------------------------------------------------------------

function heard(message) {
  switch (message?.type) {
    case "snapshot":
      return take(message);
    case "node_state":
      graph.update(message.node_id, message.status);
      break;
    case "edge_active":
      graph.pass(message.from, message.to);
      break;
    case "dag_mutated":
      connection.open(); // for a snapshot with the new graph
      break;
  }
  if (TOLD.includes(message?.type)) changed(message.offset);
}

function take({ nodes, offset: at }) {
  const now = Object.entries(nodes).map(([id, node]) => ({ ...node, id }));
  if (graph.shows(now)) for (const { id, status } of now) graph.update(id, status);
  else graph.draw(now);
  changed(at);
}

// -- what the server rendered --------------------------------------------------------------------

function changed(at) {
  if (!(Number(at) > offset)) return;
  offset = Number(at);
  look ??= setTimeout(lookAgain, PAUSE);
}

async function lookAgain() {
  if (document.hidden) { // nobody looks: when somebody does
    document.addEventListener("visibilitychange", lookAgain, { once: true });
    return;
  }
  look = undefined;
  const answer = await fetch(location.href, { cache: "no-store", redirect: "error" }).catch(() => null);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
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
  byId("run-graph").hidden = false;
  graph = new Graph(byId("run-graph"), data.states, data.words);
  graph.draw(data.nodes);
  offset = data.offset;
  if (data.stream) {
    const nothing = () => {};
    const events = {
      heard, changed: show, opened: nothing, lost: nothing, isNeeded: () => true, isWaiting: () => false,
    };
    connection = new Connection(data.stream, events, []);
    connection.open();
  } else show("gone");
}
