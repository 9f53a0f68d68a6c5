/** Negative controls: whatever is changed in a recording, or broken in the core, must be found. */
import { readFileSync } from "node:fs";
import binaryen from "binaryen";
import { describe, expect, it } from "vitest";
import { Replayer } from "../../src/conform/replay.ts";
import { instrument } from "../../src/instrument/instrument.ts";
import { type Line, VECTORS, linesOf, stage2, stepsOf, writeLines } from "./harness.ts";

/** Changes the first step that has what `change` is looking for. */
function tamper(name: string, change: (line: Line) => boolean): { path: string; step: number } {
  const lines = linesOf(name);
  const step = lines.findIndex((line, index) => index > 0 && change(line));
  expect(step).toBeGreaterThan(0);
  return { path: writeLines(`${name}.jsonl`, lines), step };
}

const CHANGES: [string, string, string, (line: Line) => boolean][] = [
  ["a return code", "s_map_same_4k", "ret", ({ r }) => r["ret"] === 0 && ((r["ret"] = -11), true)],
  ["an output", "s_aging_16k", "young", ({ r }) => r["young"] === true && !(r["young"] = false)],
  ["an entry read", "s_races_64k", "pte", ({ r }) => "pte" in r && ((r["pte"] = "0x1"), true)],
  ["a written entry", "s_split_4k", "ev[", changeWrite],
  ["a missing event", "s_block_choice_64k", "ev[", ({ r }) => list(r, "ev").pop() !== undefined],
  ["a digest of events", "s_split_64k", "evh", ({ r }) => flip(r, "evh")],
  ["a digest without writes", "s_split_16k", "evh1", ({ r }) => flip(r, "evh1")],
  ["a dump", "s_destroy_4k", "dn", addDump],
  ["a digest of a dump", "s_split_1g_4k", "dh", ({ r }) => flip(r, "dh")],
  ["a line of a dump", "s_races_4k", "dump[", ({ r }) => replaceLast(list(r, "dump"), "P 1 2")],
  ["a digest of visits", "s_walk_api_4k", "vh", ({ r }) => flip(r, "vh")],
  ["what a cache has left", "s_unlinked_4k", "mc_left", ({ r }) => raise(r, "mc_left")],
  ["pages allocated", "s_block_to_table_4k", "alloc", ({ r }) => raise(r, "alloc")],
  ["bytes unmapped", "s_hyp_misc_4k", "unmapped", changeUnmapped],
  ["a leak at the end", "s_wrprotect_4k", "live", ({ r }) => raise(r, "live")],
  ["a pure result", "s_pure_vtcr_4k", "parange", ({ r }) => raise(r, "parange")],
];

function list(r: Line["r"], field: string): unknown[] {
  return (r[field] as unknown[] | undefined) ?? [];
}

function changeWrite({ r }: Line): boolean {
  const events = list(r, "ev");
  const at = events.findIndex((event) => /^w \d \S+ 0x\w+[^0]$/.test(String(event)));
  if (at >= 0) events[at] = String(events[at]).replace(/.$/, "0");
  return at >= 0;
}

function addDump({ op, r }: Line): boolean {
  if (op["op"] !== "set_owner") return false;
  op["h"] = 1;
  r["dn"] = 1;
  r["dh"] = "0123456789abcdef";
  return true;
}

function changeUnmapped({ r }: Line): boolean {
  if (typeof r["unmapped"] !== "string" || r["unmapped"] === "0x0") return false;
  r["unmapped"] = "0x2000";
  return true;
}

function flip(r: Line["r"], field: string): boolean {
  if (typeof r[field] !== "string") return false;
  r[field] = r[field].replace(/.$/, (digit) => (digit === "0" ? "1" : "0"));
  return true;
}

function raise(r: Line["r"], field: string): boolean {
  if (typeof r[field] !== "number") return false;
  r[field]++;
  return true;
}

function replaceLast(lines: unknown[], line: string): boolean {
  if (lines.at(-1) !== "P 1 1") return false;
  lines[lines.length - 1] = line;
  return true;
}

describe("a changed recording", () => {
  it.each(CHANGES)("is found: %s", async (_what, name, field, change) => {
    const { path, step } = tamper(name, change);
    const { exit, out, err } = await stage2("conform", path);
    expect(exit).toBe(1);
    expect(err).toEqual([]);
    expect(out).toHaveLength(2);
    expect(out[0]).toContain(`${path}: step ${step} (`);
    expect(out[0]).toMatch(/; 1 of \d+ steps differ$/);
    const [, found] = /\): ([^ ]+): expected/.exec(out[0] as string) ?? [];
    expect(found?.startsWith(field) ?? false).toBe(true);
    expect(out[1]).toMatch(/^\d+ passed, 1 failed$/);
  });

  it.each<[string, string, string, (line: Line) => boolean]>([
    [
      "a return code",
      "s_map_same_16k",
      "ret",
      ({ r }) => r["ret"] === 0 && ((r["ret"] = -11), true),
    ],
    ["pages allocated", "s_block_to_table_16k", "pages", ({ r }) => raise(r, "alloc")],
    ["a digest of a dump", "s_split_1g_4k", "dh", ({ r }) => flip(r, "dh")],
  ])("is found without events: %s", (_what, name, field, change) => {
    const { path, step } = tamper(name, change);
    const replayer = new Replayer({ instrumented: () => new WebAssembly.Module(instrument(core)) });
    const differences = replayer.run(stepsOf(path), "untraced");
    expect(differences).toMatchObject([{ field, step, run: "untraced" }]);
  });
});

const core = readFileSync(new URL("../../build/release.wasm", import.meta.url));

/** The release core with one kind of constant changed wherever it stands. */
function mutant(from: RegExp, to: string): Uint8Array {
  const original = binaryen.readBinary(core);
  original.setFeatures(binaryen.Features.All);
  const text = original.emitText();
  expect(text).toMatch(from);
  const changed = binaryen.parseText(text.replace(from, to));
  changed.setFeatures(binaryen.Features.All);
  return changed.emitBinary();
}

const MUTANTS: [string, RegExp, string][] = [
  ["the access flag is another bit", /\(i64\.const 1024\)/g, "(i64.const 2048)"],
  ["-EAGAIN is another errno", /\(i32\.const -11\)/g, "(i32.const -12)"],
  ["-ERANGE is another errno", /\(i32\.const -34\)/g, "(i32.const -22)"],
];

describe("a broken core", () => {
  it.each(MUTANTS)("is found: %s", (_what, from, to) => {
    const broken = mutant(from, to);
    const replayer = new Replayer({
      core: new WebAssembly.Module(new Uint8Array(broken)),
      instrumented: () => new WebAssembly.Module(instrument(broken)),
    });
    const names = ["s_aging_4k", "s_out_of_range_4k", "s_races_4k", "s_attr_fwb_4k"];
    const reports = names.map((name) => {
      const file = `${VECTORS}${name}.jsonl.gz`;
      return replayer.replay(file, stepsOf(file));
    });
    expect(reports.some(({ failed }) => failed > 0)).toBe(true);
  });
});
