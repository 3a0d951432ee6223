// Results in the browser: the same shapes as value.html and result.html draw on the server.

let words = {};

/** What is said in the page's language: { yes, no, part, parts }. */
export const speak = (given) => {
  words = given;
};

class Digits extends String {} // a number as it was sent, where the browser tells

export const isNumber = (value) => value instanceof Digits || typeof value === "number";

/** JSON, with numbers that keep their digits. */
export const parse = (text) =>
  JSON.parse(text, (key, value, context) =>
    typeof value === "number" ? new Digits(context?.source ?? value) : value);

export function make(tag, name, ...content) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...content);
  return element;
}

function draw(value, type = {}, isFolded = true) {
  if (value === null || value === undefined || value === "") return make("span", "nothing", "—");
  if (typeof value === "boolean")
    return make("span", `badge ${value}`, value ? words.yes : words.no);
  if (isNumber(value)) return make("span", "number", String(value));
  if (typeof value === "object") {
    const size = Object.keys(value).length;
    if (!size) return draw(null);
    const drawn = Array.isArray(value) ? drawList(value, type.item) : drawEntries(value, type.fields);
    if (!isFolded) return drawn;
    return make("details", "", make("summary", "", words[size === 1 ? "part" : "parts"].replace("{n}", size)), drawn);
  }
  if (type.type !== "date" && type.type !== "datetime") return make("span", "text", value);
  const time = make("time", "", value);
  time.dateTime = time.title = value;
  return time;
}

// Numbers and texts look different where they are the answer.
const kindOf = (drawn) => (drawn.matches(".number, .text") ? `${drawn.className}-entry` : "");
const known = (fields = []) => new Map(fields.map((field) => [field.name, field]));
const labelled = (name, fields) => fields.get(name)?.label ?? name;

function drawEntries(value, declared, isAnswer = false, beneath = () => null) {
  const fields = known(declared);
  const names = [...new Set([...fields.keys(), ...Object.keys(value)])].filter((name) => name in value);
  const list = make("dl", isAnswer ? "answer" : "");
  for (const name of names) {
    const drawn = draw(value[name], fields.get(name), !isAnswer);
    const entry = make("div", isAnswer ? kindOf(drawn) : "");
    const more = beneath(name);
    entry.append(make("dt", "", labelled(name, fields)), make("dd", "", drawn, ...(more ? [more] : [])));
    list.append(entry);
  }
  return list;
}

function drawList(values, item) {
  const isTable = values.every((one) =>
    one && typeof one === "object" && !Array.isArray(one) && !isNumber(one) && Object.keys(one).length);
  if (!isTable) return make("ul", "", ...values.map((one) => make("li", "", draw(one, item))));
  const fields = known(item?.fields);
  const names = [...new Set([...fields.keys(), ...values.flatMap(Object.keys)])];
  const head = names.map((name) => make("th", "", labelled(name, fields)));
  for (const cell of head) cell.scope = "col";
  const rows = values.map((one) =>
    make("tr", "", ...names.map((name) => make("td", "", draw(one[name], fields.get(name))))));
  const table = make("table", "", make("thead", "", make("tr", "", ...head)), make("tbody", "", ...rows));
  const scroll = make("div", "scroll", table);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "group");
  return scroll;
}

/** Moments in the time and manner of whoever reads; their title keeps ISO 8601. */
export function localise(element) {
  for (const time of element.querySelectorAll("time[datetime*=T]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(+moment))
      time.textContent = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  }
}

/** A machine's output; fields: of `outline` in presentation.py; beneath(name): what stands under a
 * value, if anything. */
export function drawResult(result, fields, beneath) {
  return Object.keys(result).length ? drawEntries(result, fields, true, beneath) : draw(null);
}

/** Any value, of which no type is known. */
export const drawValue = (value) => draw(value, {}, false);

/** Make an element like another one with as few changes as can be; what is unfolded stays so, and what is
 * in an element with data-kept. */
export function renew(old, fresh) {
  for (const { name } of [...old.attributes])
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (fresh.dataset?.kept !== undefined) return;
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  for (const surplus of before.slice(after.length)) surplus.remove();
  for (const [at, node] of after.entries()) {
    const same = before[at];
    if (!same) old.append(node);
    else if (same.nodeName !== node.nodeName) same.replaceWith(node);
    else if (node.nodeType === Node.ELEMENT_NODE) renew(same, node);
    else if (same.data !== node.data) same.data = node.data;
  }
}
