/** Values in scripts: numbers, names, numbers of pages, and sums of them. */
import { errnoNumber } from "./results.ts";
import type { Expected, Expression, Term } from "./syntax.ts";
import type { Line, Word } from "./words.ts";

const UNITS: Readonly<Record<string, bigint>> = { K: 10n, M: 20n, G: 30n, T: 40n };
const TOP = 2n ** 64n;

const ANY_RESULT = "a result: 0, -EPERM, -22, NOT_SUPPORTED, a number or a $name";

/** The names that have a value where a line is read. */
export type Names = ReadonlySet<string>;

/** An expression; `what` it should be is for the error. */
export function readExpression(line: Line, names: Names, what: string): Expression {
  return readSum(line, names, what, line.peek().column, false);
}

/** An expression from its first term on, which stands behind a minus or not; the whole begins at a column. */
function readSum(line: Line, names: Names, what: string, from: number, minus: boolean): Expression {
  const terms = [readTerm(line, names, what, minus)];
  while (["+", "-"].includes(line.peek().text)) {
    const less = line.take().text === "-";
    terms.push(readTerm(line, names, "a number or a $name", less));
  }
  const to = line.peek();
  return { terms, text: line.text.slice(from - 1, to.column - 1).trim() };
}

function readTerm(line: Line, names: Names, what: string, minus: boolean): Term {
  const page = line.takeIf("@");
  const word = line.peek();
  if (word.kind === "number") return { minus, page, value: readNumber(line) };
  if (word.kind !== "name") throw line.expected(page ? "an address" : what);
  line.take();
  if (!names.has(word.text))
    throw line.error(`expected ${what}, but nothing is named ${word.text}`, word);
  return { minus, page, value: { name: word.text } };
}

/** A number: decimal with a unit (64M), or hexadecimal; `_` groups digits. Below 2^64. */
export function readNumber(line: Line, what = "a number"): bigint {
  const word = line.expect("number", what);
  const value = numberOf(word);
  if (value < TOP) return value;
  throw line.error(`expected ${what} below 2^64, found "${word.text}"`, word);
}

/** A number between two, for what is no 64-bit word. */
export function readSmall(line: Line, what: string, min: number, max: number): number {
  const word = line.peek();
  const value = readNumber(line, what);
  if (value >= BigInt(min) && value <= BigInt(max)) return Number(value);
  throw line.expected(`${what} from ${min} to ${max}`, word);
}

function numberOf({ text }: Word): bigint {
  const digits = text.replaceAll("_", "");
  const unit = UNITS[digits.at(-1) as string];
  return unit === undefined ? BigInt(digits) : BigInt(digits.slice(0, -1)) << unit;
}

/** What stands behind `->`. */
export function readExpected(line: Line, names: Names): Expected {
  const from = line.peek().column;
  const minus = line.takeIf("-");
  const word = line.peek();
  if (word.kind === "word") {
    const errno = errnoNumber(word.text);
    if (errno === undefined || (minus && errno.special)) throw line.expected("a result", word);
    line.take();
    return { value: errno.value, text: errno.special ? word.text : `-${word.text}` };
  }
  const what = minus ? "the name of an errno or a number" : ANY_RESULT;
  const value = readSum(line, names, what, from, minus);
  return { value, text: value.text };
}

/** What a name stands for. */
export type Values = ReadonlyMap<string, bigint>;

/** The value of an expression, modulo 2^64. `pageShift`: of the machine. */
export function evaluate({ terms }: Expression, values: Values, pageShift: number): bigint {
  const sum = terms.reduce((total, { minus, page, value }) => {
    const whole = typeof value === "bigint" ? value : (values.get(value.name) as bigint);
    const term = page ? BigInt.asUintN(64, whole) >> BigInt(pageShift) : whole;
    return minus ? total - term : total + term;
  }, 0n);
  return BigInt.asUintN(64, sum);
}
