// @ts-check
/** An assembler for the instructions of isa.mjs: labels, `//` comments, `.balign`, `.skip`, `.asciz`. */
import { INSTRUCTIONS, NAMES, SIGNED, STACK } from "./isa.mjs";

/** Other ways to write an instruction, as the Arm ARM defines them. @type {[RegExp, (...m: string[]) => string][]} */
const ALIASES = [
  [/^cmp (.*)$/, (_, operands) => `subs xzr, ${operands}`],
  [/^mov (\w+), (x\w+)$/, (_, d, m) => `orr ${d}, xzr, ${m}`],
  [/^lsr (\w+), (\w+), #(\d+)$/, (_, d, n, by) => `ubfm ${d}, ${n}, #${by}, #63`],
  [/^lsl (\w+), (\w+), #(\d+)$/, (_, d, n, by) => `ubfm ${d}, ${n}, #${-by & 63}, #${63 - +by}`],
  [/^ret$/, () => "ret x30"],
];

/** An operand in the text of an instruction: kind, letter, unit. */
const OPERAND = /([XW#@$])([a-zA-Z])(?:\*(\d+))?/g;
/** What is written in its place. @type {Record<string, string>} */
const WRITTEN = {
  X: "(x\\d+|xzr|sp)",
  W: "(w\\d+|wzr)",
  "#": "#(-?\\w+)",
  "@": "(\\w+)",
  $: "(\\w+)",
};

const FORMS = INSTRUCTIONS.map(({ text, value, places }) => {
  const source = text
    .replace(/[.[\]]/g, "\\$&")
    .replaceAll("{", "(?:")
    .replaceAll("}", ")?")
    .replace(OPERAND, (_, kind) => WRITTEN[kind]);
  return {
    pattern: new RegExp(`^${source}$`),
    operands: [...text.matchAll(OPERAND)],
    value,
    places,
  };
});

/**
 * Assembles a program.
 *
 * @param {string} program
 * @param {number} base where it will run
 * @returns {{ image: Uint8Array, labels: Record<string, number> }}
 * @throws {SyntaxError} for a line that is none, or an operand that does not fit
 */
export function assemble(program, base) {
  /** @type {Record<string, number>} */
  const labels = {};
  /** @type {{ at: number, bytes: number[] | undefined, line: string }[]} */
  const items = [];
  let at = base;
  for (const text of program.split("\n")) {
    const [, label, line = ""] = /^\s*(?:(\w+):)?\s*(.*?)\s*(?:\/\/.*)?$/.exec(text) ?? [];
    const bytes = directive(line, at);
    if (label) labels[label] = at;
    if (line) items.push({ at, bytes, line });
    at += bytes ? bytes.length : line ? 4 : 0;
  }

  const image = new DataView(new ArrayBuffer(at - base));
  for (const { at, bytes, line } of items) {
    if (bytes) new Uint8Array(image.buffer).set(bytes, at - base);
    else image.setUint32(at - base, encode(line, at, labels), true);
  }
  return { image: new Uint8Array(image.buffer), labels };
}

/** The bytes of a directive; `undefined` if the line is an instruction. */
function directive(/** @type {string} */ line, /** @type {number} */ at) {
  const [, name, rest] = /^\.(\w+) (.*)$/.exec(line) ?? [];
  if (name === "balign") return Array(-at & (Number(rest) - 1)).fill(0);
  if (name === "skip") return Array(Number(rest)).fill(0);
  if (name === "asciz") return [...JSON.parse(rest), "\0"].map((letter) => letter.charCodeAt(0));
  return undefined;
}

/**
 * The word of an instruction at an address.
 *
 * @param {string} line
 * @param {number} pc
 * @param {Record<string, number>} [labels]
 */
export function encode(line, pc = 0, labels = {}) {
  const plain = line.replace(/\s+/g, " ");
  const [alias, rewrite] = ALIASES.find(([pattern]) => pattern.test(plain)) ?? [];
  const text = alias && rewrite ? plain.replace(alias, rewrite) : plain;
  for (const { pattern, operands, value, places } of FORMS) {
    const written = pattern.exec(text);
    if (!written) continue;
    let word = value;
    for (const [index, [, kind, letter, unit = "1"]] of operands.entries()) {
      const text = written[index + 1] ?? "0";
      const number = operand(kind, letter, text, { unit: Number(unit), pc, labels });
      const bits = spread(number, places[letter], SIGNED.includes(letter));
      if (bits === undefined) throw new SyntaxError(`an operand does not fit: ${line}`);
      word |= bits;
    }
    return word >>> 0;
  }
  throw new SyntaxError(`not an instruction: ${line}`);
}

/**
 * The number that stands for an operand; NaN if none does.
 *
 * @param {string} kind
 * @param {string} letter
 * @param {string} text
 * @param {{ unit: number, pc: number, labels: Record<string, number> }} place
 */
function operand(kind, letter, text, { unit, pc, labels }) {
  if (kind === "#") return Number(text) / unit;
  if (kind === "$") return NAMES[letter][text] ?? NaN;
  if (kind === "@") return Math.floor(labels[text] / unit) - Math.floor(pc / unit);
  if (text === (STACK.includes(letter) ? "sp" : `${kind.toLowerCase()}zr`)) return 31;
  const number = Number(text.slice(1));
  return number < 31 ? number : NaN;
}

/** A number in its places of the word. @param {number} number @param {number[]} places @param {boolean} signed */
function spread(number, places, signed) {
  const least = signed ? -(2 ** (places.length - 1)) : 0;
  const fits = Number.isInteger(number) && number >= least && number < least + 2 ** places.length;
  if (!fits) return undefined;
  return places.reduceRight(
    (word, bit, index) => word | (((number >> (places.length - 1 - index)) & 1) << bit),
    0,
  );
}
