/** Negative controls: whatever is changed in a recording, or broken in the core, must be found. */
import { readFileSync } from "node:fs";
import binaryen from "binaryen";
import { afterEach, describe, expect, it } from "vitest";
import { VectorMachine } from "../../src/hw/machine.ts";
import { judge, replayVectors } from "../../src/hw/replay.ts";
import { findLine, linesOf, sharedMachine, vectorsOf, type Line } from "./support.ts";

const machine = sharedMachine();

/** What came of one vector: which answer it gave, or how it differs. */
async function replayOne(line: Line) {
  return judge(await machine(), vectorsOf([line])[0]!);
}

/** Flips the lowest bit of a hex string that a bit of `mask` is in. */
function flip(text: unknown, mask = 1n): string {
  return `0x${(BigInt(text as string) ^ mask).toString(16)}`;
}

const read = (line: Line): boolean =>
  line.cat === "c-ok" && line.access["kind"] === "read" && line.expect["ok"] === true;
const faulting = (line: Line): boolean =>
  line.cat === "c-invalid" && line.access["kind"] === "write" && line.arch === undefined;
const onDescriptor = (line: Line): boolean =>
  line.expect["s1ptw"] === 1 && line.expect["el"] === 2 && line.arch === undefined;
const atFails = (line: Line): boolean =>
  line.cat === "h-fault" && typeof line.expect["par"] === "string";
const attributes = (line: Line): boolean => line.cat === "t-attr" && line.expect["ok"] === true;
const stores = (line: Line): boolean =>
  line.access["kind"] === "ldadd" && line.expect["ok"] === true && line.arch === undefined;
const exclusive = (line: Line): boolean => line.expect["stxr"] === 0;
const changes = (line: Line): boolean =>
  line.after.length > 0 && line.arch === undefined && line.access["kind"] === "write";
const severalWords = (line: Line): boolean => changes(line) && line.mem.length > 1;
const external = (line: Line): boolean => line.expect["type"] === "external";
const trapped = (line: Line): boolean => line.expect["at_trapped"] === true;

/** What is changed, in the first vector that fits, how, and the field that must be told. */
const CHANGES: [string, (line: Line) => boolean, (line: Line) => void, RegExp][] = [
  ["that it succeeded", read, ({ expect: e }) => Object.assign(e, { ok: false, fsc: 7 }), /^ok$/],
  ["the physical address", read, ({ expect: e }) => (e["pa"] = flip(e["pa"])), /^pa$/],
  ["what was loaded", read, ({ expect: e }) => (e["value"] = flip(e["value"])), /^value$/],
  ["that it failed", faulting, ({ expect: e }) => Object.assign(e, { ok: true, pa: "0x50000000" }), /^ok$/],
  ["the type of a fault", faulting, ({ expect: e }) => (e["type"] = "permission"), /^type$/],
  ["the level of a fault", faulting, ({ expect: e }) => (e["level"] = 3), /^level$/],
  ["the status code", faulting, ({ expect: e }) => (e["fsc"] = 7), /^fsc$/],
  ["the stage", faulting, ({ expect: e }) => (e["stage"] = 1), /^stage$/],
  ["the direction", faulting, ({ expect: e }) => (e["wnr"] = 0), /^wnr$/],
  ["the Exception level it is taken to", faulting, ({ expect: e }) => (e["el"] = 1), /^el$/],
  ["FAR", faulting, ({ expect: e }) => (e["far"] = flip(e["far"])), /^far$/],
  ["HPFAR", faulting, ({ expect: e }) => (e["hpfar"] = flip(e["hpfar"], 16n)), /^hpfar$/],
  ["ESR: the register", faulting, ({ expect: e }) => (e["esr"] = flip(e["esr"], 1n << 16n)), /^esr$/],
  ["ESR: its class", faulting, ({ expect: e }) => (e["esr"] = flip(e["esr"], 1n << 26n)), /^esr$/],
  ["S1PTW", onDescriptor, ({ expect: e }) => (e["s1ptw"] = 0), /^s1ptw$/],
  ["HPFAR on a descriptor", onDescriptor, ({ expect: e }) => (e["hpfar"] = flip(e["hpfar"], 16n)), /^hpfar$/],
  ["PAR of a failure", atFails, ({ expect: e }) => (e["par"] = flip(e["par"], 2n)), /^par$/],
  ["PAR: memory type", attributes, ({ expect: e }) => (e["par"] = flip(e["par"], 1n << 60n)), /^par$/],
  ["PAR: shareability", attributes, ({ expect: e }) => (e["par"] = flip(e["par"], 1n << 7n)), /^par$/],
  ["that AT took an exception", trapped, ({ expect: e }) => (e["type"] = "translation"), /^trapped$/],
  ["the syndrome of an AT exception", trapped, ({ expect: e }) => (e["esr"] = flip(e["esr"], 1n << 8n)), /^esr$/],
  ["an external abort", external, ({ expect: e }) => (e["fsc"] = 0x11), /^fsc$/],
  ["that a store-exclusive stored", exclusive, ({ expect: e }) => (e["stxr"] = 1), /^stxr$/],
  ["what an atomic stored", stores, (line) => (line.data_after![0]![1] = "0x1"), /^memory at 0x5/],
  ["that it stored", stores, (line) => delete line.data_after, /^memory at 0x5/],
  ["an updated descriptor", changes, ({ after }) => (after[0]![1] = flip(after[0]![1])), /^memory at 0x6/],
  ["that a descriptor is updated", changes, ({ after }) => after.splice(0), /^memory at 0x6/],
  ["that another one is", severalWords, ({ after, mem }) => {
    const other = mem.find(([pa]) => pa !== after[0]![0])!;
    after.push([other[0], flip(other[1], 1n << 55n)]);
  }, /^memory at 0x6/],
  ["a descriptor: its address", read, ({ mem }) => {
    for (const word of mem) word[1] = flip(word[1], 1n << 24n);
  }, /./],
  ["a register bit: VTTBR", read, ({ regs }) => (regs["vttbr"] = flip(regs["vttbr"], 1n << 26n)), /^ok$/],
  ["a register bit: VTCR.SL0", read, ({ regs }) => (regs["vtcr"] = flip(regs["vtcr"], 1n << 6n)), /./],
  ["a register bit: HA", changes, ({ regs }) => (regs["vtcr"] = flip(regs["vtcr"], 1n << 21n)), /./],
  ["the input address", read, ({ access }) => (access["ia"] = flip(access["ia"], 8n)), /^pa$/],
]; // prettier-ignore

describe("a changed recording", () => {
  it.each(CHANGES)("is found: %s", async (_what, fits, change, field) => {
    const line = findLine(fits);
    expect(await replayOne(line)).toBe("expect");
    change(line);
    expect(await replayOne(line)).toMatchObject({ field: expect.stringMatching(field) });
  });
});

describe("two answers", () => {
  const open = findLine(({ arch }) => arch !== undefined && !arch["confirmed"] && !arch["ok"]);
  const confirmed = findLine(({ arch }) => arch?.["confirmed"] === true);

  /** A vector whose answers are exchanged. */
  function exchanged(line: Line): Line {
    const { after = [], ...answer } = line.arch as { after?: Line["after"] };
    return { ...line, expect: answer, after, arch: { ...line.expect, after: line.after } };
  }

  it("either passes where none is confirmed, and it is told which", async () => {
    const [one, other] = [await replayOne(open), await replayOne(exchanged(open))];
    expect([one, other].sort()).toEqual(["arch", "expect"]);
    const report = replayVectors(await machine(), "test.jsonl", vectorsOf([open]));
    const { id, cat: category, note: notes } = open;
    expect(report.choices).toEqual([{ id, category, notes, matched: one }]);
  });

  it("none passes where both are wrong", async () => {
    const wrong = { fsc: 9, level: 1, type: "access_flag", ok: false, stage: 2, s1ptw: 0 };
    const line = { ...open, expect: wrong, arch: { ...wrong, fsc: 10, level: 2, after: [] } };
    expect(await replayOne(line)).toHaveProperty("field");
  });

  it("only the confirmed one passes", async () => {
    expect(await replayOne(confirmed)).toBe("arch");
    const line = {
      ...confirmed,
      arch: { ...confirmed.expect, after: confirmed.after, confirmed: true },
    };
    expect(await replayOne(line)).toHaveProperty("field");
  });
});

describe("memory that is not the vector's", () => {
  const vectors = vectorsOf(linesOf("crafted_hyp.jsonl.gz").slice(0, 12));

  it("fails the vector that changes it", async () => {
    const real = await machine();
    const guilty = vectors[5]!;
    const broken = {
      memory: real.memory,
      play: ((vector, run, look) => {
        const result = real.play(vector, run, look);
        if (vector === guilty) real.memory.store([{ pa: 0x5123_4568, value: 7n }]);
        return result;
      }) satisfies VectorMachine["play"],
    } as VectorMachine;
    const report = replayVectors(broken, "test.jsonl", vectors);
    expect(report).toMatchObject({ passed: 11, failed: 1, first: { id: guilty.id, actual: 7n } });
    expect(report.first!.field).toBe("memory at 0x51234568, which is not the vector's");
    expect(replayVectors(real, "test.jsonl", vectors)).toMatchObject({ passed: 12, failed: 0 });
  });

  it("fails the file if nobody did it", async () => {
    const real = await machine();
    real.memory.store([{ pa: 0x6fff_fff8, value: 7n }]);
    expect(replayVectors(real, "test.jsonl", vectors)).toMatchObject({ passed: 11, failed: 1 });
    expect(replayVectors(real, "test.jsonl", vectors)).toMatchObject({ passed: 12, failed: 0 });
  });
});

const core = readFileSync(new URL("../../build/release.wasm", import.meta.url));

/** The release core with one kind of constant changed wherever it stands. */
function mutant(from: RegExp, to: string): WebAssembly.Module {
  const original = binaryen.readBinary(core);
  original.setFeatures(binaryen.Features.All);
  const text = original.emitText();
  expect(text).toMatch(from);
  const changed = binaryen.parseText(text.replace(from, to));
  changed.setFeatures(binaryen.Features.All);
  return new WebAssembly.Module(new Uint8Array(changed.emitBinary()));
}

describe("a broken core", () => {
  let broken: VectorMachine | undefined;
  afterEach(() => broken?.dispose());

  it.each<[string, RegExp, string]>([
    ["the access flag is another bit", /\(i64\.const 1024\)/g, "(i64.const 2048)"],
    ["dirty state is another bit", /\(i64\.const 128\)/g, "(i64.const 64)"],
    ["blocks are tables", /\(i64\.const 3\)/g, "(i64.const 1)"],
  ])("is found: %s", async (_what, from, to) => {
    broken = await VectorMachine.create({ module: mutant(from, to) });
    const lines = linesOf("random_s2.jsonl.gz").slice(0, 500);
    expect(replayVectors(broken, "test.jsonl", vectorsOf(lines)).failed).toBeGreaterThan(0);
  });
});
