/** Compares what a step answered with what was recorded. */
import type { Result } from "./vectors.ts";

/** The first thing in a result that is not as recorded. */
export interface Difference {
  readonly field: string;
  readonly expected: unknown;
  readonly actual: unknown;
}

/** What to look at besides the results themselves. */
export interface Scope {
  /** Whether events were recorded; without them the pages in use still tell what was allocated and freed. */
  readonly events: boolean;
  /** How many more pages are in use than before the step. */
  readonly pages: number;
}

/** Informative in the recordings: how often the recorded library warned. */
const INFORMATIVE = new Set(["warn"]);
const OF_EVENTS = new Set(["alloc", "free", "ev", "evn", "evh", "evn1", "evh1"]);

/** The first difference; undefined if there is none. Fields on one side only are differences. */
export function compare(expected: Result, actual: Result, scope: Scope): Difference | undefined {
  const fields = new Set([...Object.keys(expected), ...Object.keys(actual)]);
  for (const field of fields) {
    if (INFORMATIVE.has(field) || (OF_EVENTS.has(field) && !scope.events)) continue;
    const difference = compareField(field, expected[field], actual[field]);
    if (difference !== undefined) return difference;
  }
  const pages = count(expected["alloc"]) - count(expected["free"]);
  return compareField("pages", pages, scope.pages);
}

function compareField(field: string, expected: unknown, actual: unknown): Difference | undefined {
  if (Array.isArray(expected) && Array.isArray(actual))
    return compareLists(field, expected, actual);
  return expected === actual ? undefined : { field, expected, actual };
}

function compareLists(
  field: string,
  expected: readonly unknown[],
  actual: readonly unknown[],
): Difference | undefined {
  const length = Math.max(expected.length, actual.length);
  for (let i = 0; i < length; i++) {
    if (expected[i] !== actual[i])
      return { field: `${field}[${i}]`, expected: expected[i], actual: actual[i] };
  }
  return undefined;
}

function count(value: unknown): number {
  return typeof value === "number" ? value : 0;
}
