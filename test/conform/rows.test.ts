import { describe, expect, it } from "vitest";
import { Lines } from "../../src/conform/lines.ts";
import {
  DumpMemory,
  ROW,
  RowMatcher,
  RowRecorder,
  type RowSink,
  RowWriter,
} from "../../src/conform/rows.ts";

type Row = [number, number, number, number, number, number];

const ROWS: Row[] = [
  [ROW.ROOT, 0, 0, 0, 0, 3],
  [ROW.TABLE, -1, 0, 0x20_0000, 0, 513],
  [ROW.LEAF, 3, 1, 0x8000_0000 | 0, 0x0040_0000, 0x8000_07ff | 0],
  [ROW.INVALID, 3, 0, 0x1000, 0, 0x400],
  [ROW.UNLINKED, 2, 0, 0, 0, 1],
];

const LINES = [
  "P 0 3",
  "T -1 0x200000 513",
  "L 3 0x180000000 0x400000800007ff",
  "A 3 0x1000 0x400",
  "U 2 1",
];

function pass(rows: readonly Row[], sink: RowSink): void {
  for (const row of rows) sink.row(...row);
}

function recorded(): Uint32Array {
  const recorder = new RowRecorder({ row: () => undefined });
  pass(ROWS, recorder);
  return recorder.words;
}

function matches(rows: readonly Row[]): boolean {
  const matcher = new RowMatcher(recorded());
  pass(rows, matcher);
  return matcher.matches;
}

describe("rows of a dump", () => {
  it("are written as the vectors write them", () => {
    const lines = new Lines();
    lines.restart(true);
    pass(ROWS, new RowRecorder(new RowWriter(lines)));
    expect(lines.list()).toEqual(LINES);
  });

  it("match themselves", () => expect(matches(ROWS)).toBe(true));

  it.each([0, 1, 2, 3, 4, 5])("do not match when number %i of a row is another", (field) => {
    const rows = ROWS.map((row, i) => row.map((n, j) => (i === 2 && j === field ? n ^ 1 : n)));
    expect(matches(rows as Row[])).toBe(false);
  });

  it("do not match with a row more, a row less, or none", () => {
    expect(matches([...ROWS, ROWS[4] as Row])).toBe(false);
    expect(matches(ROWS.slice(0, -1))).toBe(false);
    expect(matches([])).toBe(false);
  });

  it("are recalled only for the same step and the same rows", () => {
    const memory = new DumpMemory();
    memory.remember(7, recorded(), { dh: "digest" });
    expect(memory.recall(7, (sink) => pass(ROWS, sink))).toEqual({ dh: "digest" });
    expect(memory.recall(8, (sink) => pass(ROWS, sink))).toBeUndefined();
    expect(memory.recall(7, (sink) => pass(ROWS.slice(1), sink))).toBeUndefined();
  });
});
