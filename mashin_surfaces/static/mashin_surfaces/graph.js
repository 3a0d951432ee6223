// Draws a graph of nodes as SVG: each with its title, a sign and a word for its state, a link to its
// row. Where it is placed is dagre's business (vendor/dagre), which is loaded when the page is there: it is
// more than all scripts of the page together. What happens to the graph is run.js's.

import { onDemand } from "./on_demand.js";

/** What places the nodes; it may come late. */
export const placer = () => onDemand("./vendor/dagre/dagre.esm.js");

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 188; // of a node, and its height
const HEIGHT = 50;
const ROOM = 144; // for a title, within that width
const MARGIN = 8;
const SMALLEST = 0.75; // of its size, where there is not room for it

export class Graph {
  #place;
  #states;
  #words;
  #dagre;
  #nodes = new Map(); // by id: the node, and the elements that show it
  #edges = new Map(); // by "from to": the path

  /** place: an empty element. states: { status: { look, sign, word } }. words: what is said. dagre: of the placer. */
  constructor(place, states, words, dagre) {
    this.#dagre = dagre;
    this.#place = place;
    this.#states = states;
    this.#words = words;
  }

  /** nodes: [{ id, title, kind, needs, status }]; what was drawn before is gone. */
  draw(nodes) {
    const focused = document.activeElement?.getAttribute("href");
    const placed = place(this.#dagre, nodes, this.#place.clientWidth);
    const { width, height } = placed.graph();
    const svg = make("svg", {
      width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": this.#words.graph,
    });
    svg.style.minWidth = `${width * SMALLEST}px`;
    const arrow = make("marker", {
      id: "run-arrow", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 5, markerHeight: 5, orient: "auto",
    });
    arrow.append(make("path", { d: "M0,0L8,4L0,8z", class: "mashin-arrow" }));
    svg.append(arrow);
    this.#nodes.clear();
    this.#edges.clear();
    for (const { v: from, w: to } of placed.edges()) {
      const path = make("path", {
        d: curve(placed.edge(from, to).points), class: "mashin-edge", "marker-end": "url(#run-arrow)",
      });
      this.#edges.set(`${from} ${to}`, path);
      svg.append(path);
    }
    for (const node of nodes) svg.append(this.#drawNode(node, placed.node(node.id)));
    this.#place.replaceChildren(svg);
    for (const { name } of this.#nodes.values()) shorten(name);
    for (const node of nodes) {
      this.update(node.id, node.status);
      if (this.#states[node.status]?.look === "good")
        for (const other of nodes) if (other.needs.includes(node.id)) this.pass(node.id, other.id);
    }
    const current = nodes.find(({ status }) => ["warn", "busy"].includes(this.#states[status]?.look));
    if (current) this.#reveal(placed.node(current.id), svg, width);
    if (focused) svg.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }

  #drawNode(node, { x, y }) {
    const link = make("a", { href: `#node-${node.id}`, transform: `translate(${x - WIDTH / 2},${y - HEIGHT / 2})` });
    const title = make("title");
    const sign = make("text", { x: 20, y: 31, class: "mashin-sign" });
    const word = make("text", { x: 38, y: 39, class: "mashin-word" });
    const name = make("text", { x: 38, y: 21, class: "mashin-title" });
    name.textContent = node.title;
    link.append(title, make("rect", { width: WIDTH, height: HEIGHT, rx: 6 }), sign, name, word);
    this.#nodes.set(node.id, { node, link, title, name, sign, word });
    return link;
  }

  // Where there is not room for all, the middle of what is seen is where something goes on.
  #reveal({ x, y }, svg, width) {
    const scale = svg.getBoundingClientRect().width / width;
    this.#place.scrollLeft = x * scale - this.#place.clientWidth / 2;
    this.#place.scrollTop = y * scale - this.#place.clientHeight / 2;
  }

  /** A node's state has changed. */
  update(id, status) {
    const drawn = this.#nodes.get(id);
    const state = this.#states[status];
    if (!drawn || !state) return;
    const { node, link, title, sign, word } = drawn;
    const needs = node.needs.length ? `, ${this.#words.needs} ${node.needs.join(", ")}` : "";
    node.status = status;
    link.setAttribute("class", `mashin-node mashin-look-${state.look} mashin-is-${status}`);
    link.setAttribute("aria-label", `${node.title}: ${state.word}${needs}`);
    link.dataset.status = status;
    title.textContent = `${node.id} (${node.kind}): ${state.word}${needs}`;
    sign.textContent = state.sign;
    word.textContent = state.word;
  }

  /** What a node gave is handed to another. */
  pass(from, to) {
    this.#edges.get(`${from} ${to}`)?.classList.add("mashin-passed");
  }

  /** Whether these are the nodes that are drawn, with the same needs. */
  shows(nodes) {
    return (
      nodes.length === this.#nodes.size &&
      nodes.every(({ id, needs }) => String(this.#nodes.get(id)?.node.needs) === String(needs))
    );
  }
}

// From left to right; from top to bottom where that is too wide, and this is less so.
function place(dagre, nodes, room) {
  const across = arrange(dagre, nodes, "LR");
  if (across.graph().width * SMALLEST <= room) return across;
  const down = arrange(dagre, nodes, "TB");
  return down.graph().width < across.graph().width ? down : across;
}

function arrange(dagre, nodes, rankdir) {
  const graph = new dagre.Graph();
  graph.setGraph({ rankdir, nodesep: 18, ranksep: 40, marginx: MARGIN, marginy: MARGIN });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { id } of nodes) graph.setNode(id, { width: WIDTH, height: HEIGHT });
  for (const { id, needs } of nodes)
    for (const need of needs) if (graph.hasNode(need)) graph.setEdge(need, id);
  dagre.layout(graph);
  return graph;
}

// Through the points, rounded at those between the ends.
function curve([first, ...rest]) {
  const last = rest.pop();
  let path = `M${at(first)}`;
  rest.forEach((point, index) => {
    const next = rest[index + 1];
    path += `Q${at(point)} ${at(next ? { x: (point.x + next.x) / 2, y: (point.y + next.y) / 2 } : last)}`;
  });
  return rest.length ? path : `${path}L${at(last)}`;
}

// To what there is room for; the whole stands in the node's title.
function shorten(text) {
  let left = text.textContent.slice(0, 40);
  while (left && text.getComputedTextLength() > ROOM) {
    left = left.slice(0, -1);
    text.textContent = `${left.trimEnd()}…`;
  }
}

const at = ({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`;

function make(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
