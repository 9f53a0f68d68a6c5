import { deepStrictEqual } from "node:assert";
import { spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it, vi } from "vitest";
// @ts-expect-error the example is JavaScript
import * as example from "../../examples/machine/boot.mjs";
// @ts-expect-error the example is JavaScript
import { PROGRAM } from "../../examples/machine/guest.mjs";
import { type Fault, Stage2, decodeSyndrome } from "../../src/index.ts";

vi.mock("stage2", () => import("../../src/index.ts"));
afterEach(() => vi.restoreAllMocks());

interface Run {
  readonly story: readonly { readonly pc: bigint; readonly fault?: Fault; readonly done: string }[];
  readonly result: Readonly<Record<string, unknown>>;
  readonly instructions: number;
}
const boot: (program?: string) => Promise<Run> = example.boot;
const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));
const [CODE, TABLE1, TABLE2, TABLE3, NEW_TABLE, DATA] = [0, 1, 2, 3, 4, 5].map(
  (page) => 0x4000_0000 + 4096 * page,
) as [number, number, number, number, number, number];
const WINDOW = [0, 1, 2, 3].map((page) => 0x4001_0000 + 4096 * page);
const REPAIRED = 0x4001_4000;
const UART = 0x0900_0000;

describe("the example machine", () => {
  it("counts its pages twice and says so", async () => {
    const { result } = await boot();

    const numbers = [1, 2, 3, 4];
    const sums = [...numbers, ...numbers.map((number) => 2 * number)];
    expect(result).toEqual({
      verdict: 0,
      output: "hello\n",
      counter: BigInt(2 * numbers.length),
      sum: BigInt(sums.reduce((a, b) => a + b)),
      pages: [...numbers.map((number) => BigInt(2 * number)), 0x1234n],
      repaired: BigInt(REPAIRED),
    });
    expect(result).toEqual(example.EXPECTED);
  });

  it("is given each page when it first faults on it, and what it may do there when it does", async () => {
    const { story } = await boot();

    expect(pagesOf(story, { type: "translation", stage: 2, s1ptw: false })).toEqual([
      ...[CODE, TABLE1, TABLE2, TABLE3],
      ...[WINDOW[0], DATA, ...WINDOW.slice(1)],
      ...[REPAIRED, ...Array<number>("hello\n".length).fill(UART)],
    ]);
    expect(pagesOf(story, { type: "permission", stage: 2, s1ptw: false })).toEqual([
      ...[WINDOW[0], DATA, ...WINDOW.slice(1)],
      NEW_TABLE,
    ]);
  });

  it("walks its own tables through stage 2, and faults there too", async () => {
    const { story } = await boot();

    expect(pagesOf(story, { type: "translation", s1ptw: true })).toEqual([NEW_TABLE]);
    expect(pagesOf(story, { type: "accessFlag", s1ptw: true })).toEqual([TABLE1, TABLE2, TABLE3]);
    for (const { fault } of story) {
      if (fault?.s1ptw) expect(decodeSyndrome(fault.esr).abort?.access).toBeUndefined();
    }
  });

  it("repairs one fault by itself: of stage 1, at EL1", async () => {
    const { story } = await boot();

    const own = story.flatMap(({ fault }) => (fault?.stage === 1 ? [fault] : []));
    expect(own.map(({ type, level, el, write, va }) => ({ type, level, el, write, va }))).toEqual([
      { type: "translation", level: 3, el: 1, write: true, va: 0x1_0020_0000n },
    ]);
  });

  it("shows which pages are in use after its access flags were cleared", async () => {
    const { story } = await boot();

    expect(pagesOf(story, { type: "accessFlag", s1ptw: false })).toEqual([
      ...[CODE, WINDOW[0], DATA, ...WINDOW.slice(1)],
    ]);
  });

  it("shows nothing of the kind when the TLB keeps what it knows", async () => {
    vi.spyOn(Stage2.prototype, "tlbFlushRange").mockImplementation(() => {});
    const { story, result } = await boot();

    const pages = pagesOf(story, { type: "accessFlag", s1ptw: false });
    expect(pages.filter((page) => WINDOW.includes(page))).toEqual([]);
    expect(result).toEqual(example.EXPECTED);
  });

  it.each<[string, string, string, Run["result"]]>([
    ["counts by two", "add   x2, x2, #1", "add   x2, x2, #2", { counter: 16n }],
    ["skips a number", "movz  x5, #1\npage", "movz  x5, #2\npage", { counter: 6n }],
    ["prints nothing", "bl    print", "nop", { output: "" }],
    ["gives the wrong page", "add   x3, x3, #4, lsl #12", "nop", { repaired: 0x4001_0000n }],
    ["falls asleep", "bl    print", "wfi", { verdict: undefined, output: "" }],
    ["has no vector", "msr   vbar_el1, x0", "hvc #2", { verdict: 2, counter: undefined }],
  ])("is not content with a guest that %s", async (_, good, bad, found) => {
    expect(PROGRAM).toContain(good);
    const { result } = await boot(PROGRAM.replace(good, bad));

    expect(result).toMatchObject(found);
    expect(() => deepStrictEqual(result, example.EXPECTED)).toThrow(
      /Expected values to be strictly/,
    );
  });

  it("gives up on a guest whose vector faults for ever", async () => {
    const program = PROGRAM.replace("add   sp, x21, #1, lsl #12", "nop");
    await expect(boot(program)).rejects.toThrow(/no end in 100000 steps, at 0x40000a0[04]$/);
  });

  it("does not invent memory", async () => {
    const program = PROGRAM.replace("movz  x9, #1, lsl #32", "movz  x9, #0");
    await expect(boot(program)).rejects.toThrow(/^nothing there: .*0x200000\b/);
  });
});

describe("as a program", () => {
  it("tells its story and exits with 0", () => {
    const { status, stdout, stderr } = node(join(REPOSITORY, "examples/machine/boot.mjs"));

    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout.split("\n")).toEqual(expect.arrayContaining(shownInReadme()));
    expect(stdout).toMatch(/^0x40000000 +run 0x40000000 +stage 2, level \d: .* maps 0x\w+ r-x$/m);
    expect(stdout).toMatch(/^the guest printed +hello$/m);
    expect(stdout).toMatch(
      /^faults +17 translation \(stage 2\), 6 permission \(stage 2\), 9 accessFlag \(stage 2\), 1 translation \(stage 1\)$/m,
    );
  });

  it("exits with another code when the guest went wrong", () => {
    const folder = mkdtempSync(join(tmpdir(), "stage2-machine-"));
    try {
      cpSync(join(REPOSITORY, "examples/machine"), folder, { recursive: true });
      mkdirSync(join(folder, "node_modules"));
      symlinkSync(REPOSITORY, join(folder, "node_modules/stage2"), "dir");
      const guest = join(folder, "guest.mjs");
      const text = readFileSync(guest, "utf8");
      writeFileSync(guest, text.replace("add   x2, x2, #1", "add   x2, x2, #2"));

      const { status, stderr } = node(join(folder, "boot.mjs"));
      expect(status).toBe(1);
      expect(stderr).toContain("counter: 16n");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** The pages (guest physical) of the faults that have these properties, in order. */
function pagesOf(story: Run["story"], wanted: Partial<Fault>): number[] {
  return story.flatMap(({ fault }) => {
    const matches = (key: string) => fault?.[key as keyof Fault] === wanted[key as keyof Fault];
    if (!fault || !Object.keys(wanted).every(matches)) return [];
    return [fault.ipa! - (fault.ipa! % 4096)];
  });
}

/** The lines that the README of the examples says are printed. */
function shownInReadme(): string[] {
  const readme = readFileSync(join(REPOSITORY, "examples/README.md"), "utf8");
  const [, block = ""] = /^```text\n(.*?)^```$/ms.exec(readme) ?? [];
  const lines = block.trimEnd().split("\n");
  expect(lines.length).toBeGreaterThan(10);
  return lines.filter((line) => line !== "…");
}

function node(program: string) {
  return spawnSync(process.execPath, [program], { encoding: "utf8" });
}
