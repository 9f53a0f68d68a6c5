/** Every numbered rule of the KVM MMU has a test whose title begins with its number: the list, held against the titles. */
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

/** First and last number of each run of rules, by section. */
const RUNS: Readonly<Record<number, readonly (readonly [first: number, last: number])[]>> = {
  1: [[1, 10], [20, 26], [30, 33]], // prettier-ignore
  2: [[1, 8]],
  3: [[1, 27]],
  4: [[1, 8], [10, 14], [20, 22], [30, 34]], // prettier-ignore
  5: [[1, 4], [10, 15], [20, 21], [30, 37], [40, 42], [50, 52], [60, 74]], // prettier-ignore
  6: [[1, 4], [10, 12]], // prettier-ignore
  7: [[1, 11]],
  8: [[1, 5], [10, 14], [20, 28], [30, 36], [40, 43]], // prettier-ignore
  9: [[1, 7]],
  11: [[1, 7]],
  12: [[1, 3]],
};

const TITLE = /\(\s*["'`](M-\d+\.[^"'`]*)["'`]/g;
const RUN_IN_TITLE = /M-(\d+)\.(\d+) to M-\1\.(\d+)/g;
const ID = /M-\d+\.\d+/g;

const here = fileURLToPath(import.meta.url);
const tests = fileURLToPath(new URL("../../", import.meta.url));

function span(section: number, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, i) => `M-${section}.${first + i}`);
}

function listed(): string[] {
  return Object.entries(RUNS).flatMap(([section, runs]) =>
    runs.flatMap(([first, last]) => span(Number(section), first, last)),
  );
}

/** What a title names: single rules and runs of them. */
function namedBy(title: string): string[] {
  const runs = [...title.matchAll(RUN_IN_TITLE)].flatMap(([, section, first, last]) =>
    span(Number(section), Number(first), Number(last)),
  );
  return [...runs, ...(title.match(ID) ?? [])];
}

function namedIn(text: string): string[] {
  return [...text.matchAll(TITLE)].flatMap(([, title]) => namedBy(title as string));
}

describe("rules of the KVM MMU", () => {
  const files = readdirSync(tests, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts") && !file.includes("node_modules"))
    .map((file) => tests + file)
    .filter((file) => file !== here);
  const named = new Set(files.flatMap((file) => namedIn(readFileSync(file, "utf8"))));

  it.each(listed())("%s is the title of a test", (id) => {
    expect(named.has(id)).toBe(true);
  });

  it("titles name no rule that is not listed", () => {
    expect([...named].filter((id) => !listed().includes(id))).toEqual([]);
  });

  it("a title is found by its number, a mention in a comment or a value is not", () => {
    const id = `M-${7}.1`;
    expect(namedIn(`it("${id}: x", () => {})`)).toEqual([id]);
    expect(namedIn(`it.each(x)(\n  "${id} to M-7.3: x"`)).toEqual([
      id,
      "M-7.2",
      "M-7.3",
      id,
      "M-7.3",
    ]);
    expect(namedIn(`// ${id}\nconst a = ["${id}"]; f(x, "${id}")`)).toEqual([]);
  });
});
