// The controls of a form: read as JSON, and marked where something is wrong.

import { make } from "./values.js";

const AS_IS = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/; // a number as JSON has it

/** A form as the JSON text of an object: digits stay as they were typed. Null when a control holds
 * what is no JSON, which is marked with the words `notJson`. */
export function readFields(form, notJson) {
  const parts = [];
  let isGood = true;
  for (const control of form.querySelectorAll("[data-field] [data-type]")) {
    try {
      const json = jsonOf(control);
      if (json !== undefined) parts.push(`${JSON.stringify(control.name)}:${json}`);
    } catch {
      mark(control, notJson);
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

function mark(control, message) {
  control.setAttribute("aria-invalid", "true");
  document.getElementById(`${control.id}-errors`).append(make("span", "", message));
}

/** Take all marks away. */
export function unmark(form) {
  for (const place of form.querySelectorAll(".field-errors")) place.replaceChildren();
  for (const control of form.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
}

/** Say what is wrong beside the controls; what belongs to none of them is given back. */
export function markAll(form, details) {
  const others = [];
  for (const detail of details) {
    const [name, ...rest] = (detail.path ?? "").split("/").slice(1)
      .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    const control = name && form.querySelector(`[data-field="${CSS.escape(name)}"] [data-type]`);
    const steps = rest.map((part) => (/^\d+$/.test(part) ? `#${+part + 1}` : part));
    const where = control ? steps.join(" › ") : name;
    const text = where ? `${where}: ${detail.message}` : detail.message;
    if (control) mark(control, text);
    else others.push(text);
  }
  return others;
}
