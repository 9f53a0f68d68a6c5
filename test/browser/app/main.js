// @ts-check
/** Runs the README's example and a probe of the mode, and leaves what they said in `window.report`. */
import { probe } from "./probe.js";

let output = "";
const print = console.log;
console.log = (...values) => {
  output += `${values.join(" ")}\n`;
};
try {
  await import("./example.js");
  Object.assign(window, { report: { output, ...(await probe()) } });
} catch (error) {
  Object.assign(window, { report: { error: String(error) } });
} finally {
  console.log = print;
}
