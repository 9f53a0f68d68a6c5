/** Every numbered rule of pKVM has a test that names it in its title: the list, held against the titles. */
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

/** First and last number of each run of rules, by section. */
const RUNS: Readonly<Record<number, readonly (readonly [first: number, last: number])[]>> = {
  2: [[1, 4], [10, 13], [20, 29]], // prettier-ignore
  3: [[1, 2]],
  4: [[1, 4]],
  5: [[1, 5]],
  6: [[1, 11]],
  7: [[1, 2]],
  10: [[1, 4]],
};
/** Tables whose rows have no numbers of their own. */
const TABLES = ["P-8"];

/** The first string of a call or of a table's row: what `it`, `describe` and `it.each` take. */
const TITLE = /[([]\s*(["'`])((?:(?!\1)[^\n])*\bP-\d+(?:(?!\1)[^\n])*)\1\s*,/g;
const RUN_IN_TITLE = /P-(\d+)\.(\d+) to P-\1\.(\d+)/g;
const ID = /P-\d+(?:\.\d+)?/g;

const here = fileURLToPath(import.meta.url);
const FOLDERS = ["./", "../ghost/", "../litmus/"].map((folder) =>
  fileURLToPath(new URL(folder, import.meta.url)),
);

function span(section: number, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, i) => `P-${section}.${first + i}`);
}

const LISTED = Object.entries(RUNS)
  .flatMap(([section, runs]) => runs.flatMap(([first, last]) => span(Number(section), first, last)))
  .concat(TABLES);

/** What a title names: single rules and runs of them. */
function namedBy(title: string): string[] {
  const runs = [...title.matchAll(RUN_IN_TITLE)].flatMap(([, section, first, last]) =>
    span(Number(section), Number(first), Number(last)),
  );
  return [...runs, ...(title.match(ID) ?? [])];
}

function namedIn(text: string): string[] {
  return [...text.matchAll(TITLE)].flatMap(([, , title]) => namedBy(title as string));
}

function testsBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts"))
    .map((file) => folder + file)
    .filter((file) => file !== here);
}

describe("rules of pKVM", () => {
  const files = FOLDERS.flatMap(testsBelow);
  const named = new Set(files.flatMap((file) => namedIn(readFileSync(file, "utf8"))));

  it.each(LISTED)("%s is in the title of a test", (id) => {
    expect(named.has(id)).toBe(true);
  });

  it("titles name no rule that is not listed", () => {
    expect([...named].filter((id) => !LISTED.includes(id))).toEqual([]);
  });

  it("a title is found by its number, a mention in a comment or a value is not", () => {
    const id = `P-${7}.1`;
    expect(namedIn(`it("${id}: x", () => {})`)).toEqual([id]);
    expect(namedIn(`it.each(x)(\n  "${id}, ${TABLES[0]}: x", () => {})`)).toEqual([id, "P-8"]);
    expect(namedIn(`it.each([["${id}: the host's", 1]])`)).toEqual([id]);
    expect(namedIn(`it("P-2.20 to P-2.22: x", f)`)).toEqual([
      ...["P-2.20", "P-2.21", "P-2.22"],
      ...["P-2.20", "P-2.22"],
    ]);
    expect(namedIn(`// ${id}\nexpect(a).toBe("${id}"); const b = "${id}";`)).toEqual([]);
  });
});
