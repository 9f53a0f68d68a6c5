// The report's page, first part: its data, and how elements and numbers are made.
"use strict";

const traces = JSON.parse(document.getElementById("data").textContent);
const detail = document.getElementById("detail");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const count = (value) => value.toLocaleString("en-US");
const hex = (value) => `0x${value.toString(16)}`;

/** Makes an element: `make("p", { class: "note" }, "text", child, …)`. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function card(title, note, ...children) {
  return make(
    "div",
    { class: "card" },
    make("h3", {}, title),
    make("p", { class: "note" }, note),
    ...children,
  );
}

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}

/** "4 KiB page", "2 MiB block". */
function leafName(trace, level) {
  const shift = trace.pageShift + (3 - level) * (trace.pageShift - 3);
  return `${bytes(2 ** shift)} ${level === 3 ? "page" : "block"}`;
}
