/** Hypercalls in scripts: name, arguments, what the kernel hands along, what should come back. */
import { type Argument, CALLS, type Call, callNumbered, formOf } from "./calls.ts";
import { type Names, readExpected, readExpression, readSmall } from "./expression.ts";
import type { CallStatement, Expression } from "./syntax.ts";
import type { Line, Word } from "./words.ts";

/** A call by number. */
const BY_NUMBER = "hypercall";
const LARGEST_NUMBER = 2 ** 31 - 1;
const RIGHTS: readonly (readonly [string, number])[] = [
  ["R", 4],
  ["W", 2],
  ["X", 1],
];

/** Whether a word begins a hypercall. */
export function isCall({ kind, text }: Word): boolean {
  return kind === "word" && (text === BY_NUMBER || CALLS.has(text));
}

/** A hypercall up to the end of the line. Its result gets the name. */
export function readCall(line: Line, names: Names, name: string | undefined): CallStatement {
  const call = readWhich(line);
  const values: Expression[] = [];
  for (const argument of call.arguments) {
    if (argument.optional && endsArguments(line.peek())) break;
    values.push(readArgument(line, names, call, argument));
  }
  const memcache = call.memcache && line.takeIf("with") ? readMemcache(line, names) : undefined;
  const expected = line.takeIf("->") ? readExpected(line, names) : undefined;
  if (!line.empty) throw line.expected(`the end of "${formOf(call)}"`);
  return { kind: "call", call, values, memcache, name, expected };
}

function readWhich(line: Line): Call {
  const word = line.take().text;
  if (word !== BY_NUMBER) return CALLS.get(word) as Call;
  return callNumbered(readSmall(line, "the number of a hypercall", 0, LARGEST_NUMBER));
}

function endsArguments({ kind, text }: Word): boolean {
  return kind === "end" || text === "->" || text === "with";
}

function readArgument(line: Line, names: Names, call: Call, argument: Argument): Expression {
  const { kind, text } = line.peek();
  if (argument.kind === "prot" && kind === "word") return readRights(line);
  const what = `${argument.name} of "${formOf(call)}"`;
  if (endsArguments({ kind, text, column: 0 })) throw line.expected(what);
  return readExpression(line, names, what);
}

/** `RWX`, `RW`, `R`: any of the letters once. Other protections are written as numbers. */
function readRights(line: Line): Expression {
  const word = line.take();
  const letters = [...word.text.toUpperCase()];
  const known = letters.every((letter) => RIGHTS.some(([right]) => right === letter));
  if (!known || new Set(letters).size < letters.length)
    throw line.expected("a protection: R, RW, RX, RWX, … or a number", word);
  const value = RIGHTS.reduce(
    (sum, [right, bit]) => (letters.includes(right) ? sum + bit : sum),
    0,
  );
  return { terms: [{ minus: false, page: false, value: BigInt(value) }], text: word.text };
}

/** `with none`, `with $a, $b`. */
function readMemcache(line: Line, names: Names): Expression[] {
  if (line.takeIf("none")) return [];
  const pages = [readExpression(line, names, '"none" or a pfn')];
  while (line.takeIf(",")) pages.push(readExpression(line, names, "a pfn"));
  return pages;
}
