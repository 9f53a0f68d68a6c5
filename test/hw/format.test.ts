/** Hardware vectors that cannot be used: each is refused with the file, the line and what is wrong with it. */
import { describe, expect, it } from "vitest";
import { parseVectors } from "../../src/hw/format.ts";
import { initialWord } from "../../src/hw/memory.ts";
import { errorOf } from "../support.ts";
import { type Line, findLine, linesOf } from "./support.ts";

const good = linesOf("crafted_s2.jsonl.gz")[1]!;

/** The message for two vectors of which the second was changed. */
function refusal(change: (line: Line) => void, from: Line = good): string {
  const line = structuredClone(from);
  line.id = good.id + 1;
  change(line);
  const lines = [good, line].map((each) => JSON.stringify(each));
  const error = errorOf(() => parseVectors("x.jsonl", lines));
  expect(error.code).toBe("BAD_INPUT");
  return error.message;
}

describe("parseVectors", () => {
  it("takes a recorded vector", () => {
    const [vector] = parseVectors("x.jsonl", [JSON.stringify(good)]);
    expect(vector).toMatchObject({
      ...{ id: 1, category: "c-invalid", hypervisor: false, kind: "write", el: 1 },
      ...{ address: 0x4400_cb70_f650n, data: 0xca89_4db7_e48f_12b9n, notes: [], arch: undefined },
      expected: { ok: false, trapped: false, type: "translation", fsc: 4, level: 0, wnr: 1 },
    });
    expect([...vector!.registers.keys()].sort()).toEqual(["hcr", "sctlr", "vtcr", "vttbr"]);
    expect(vector!.memory[0]).toEqual({ pa: 0x619e_3440, value: 0n });
  });

  it.each<[string, (line: Line) => void, RegExp]>([
    ["no id", (line) => delete (line as Partial<Line>).id, /line 2: id is missing/],
    ["an id twice", (line) => (line.id = good.id), /line 2: id 1 is there twice/],
    ["no registers", (line) => delete (line as Partial<Line>).regs, /line 2: regs is missing/],
    ["a register too few", (line) => delete line.regs["vttbr"], /regs\.vttbr is missing/],
    [
      "a register as a number",
      (line) => (line.regs["vtcr"] = 5 as never),
      /regs\.vtcr is not a hex/,
    ],
    ["65 bits", (line) => (line.regs["vtcr"] = "0x10000000000000000"), /regs\.vtcr is not a hex/],
    ["an unknown kind", (line) => (line.access["kind"] = "peek"), /kind is the unknown "peek"/],
    ["an unknown level", (line) => (line.access["el"] = 3), /access\.el is not in 0 \.\. 2/],
    ["no address", (line) => delete line.access["ia"], /access\.ia is missing/],
    ["memory that is no list", (line) => (line.mem = {} as never), /mem is not a list/],
    ["half a word", (line) => (line.mem[0] = ["0x60000000"] as never), /mem\[0\] is not a pair/],
    ["memory elsewhere", (line) => (line.mem[0]![0] = "0x40000000"), /no word of the memory/],
    ["memory behind it", (line) => (line.mem[0]![0] = "0x70000000"), /no word of the memory/],
    ["memory in between", (line) => (line.mem[0]![0] = "0x60000004"), /no word of the memory/],
    ["a word twice", (line) => line.mem.push(line.mem[0]!), /is there twice/],
    [
      "a change of no word",
      (line) => line.after.push(["0x60000000", "0x1"]),
      /which is not in mem/,
    ],
    ["no outcome", (line) => delete line.expect["ok"], /expect\.ok is missing/],
    ["a fault without a code", (line) => delete line.expect["fsc"], /expect\.fsc is missing/],
    ["a success without an address", (line) => (line.expect["ok"] = true), /expect\.pa is missing/],
    ["a level beyond", (line) => (line.expect["level"] = 64), /expect\.level is not in/],
    ["no changes", (line) => delete (line as Partial<Line>).after, /after is missing/],
    ["notes that are no list", (line) => (line.note = "x" as never), /note is not a list/],
  ])("refuses %s", (_what, change, message) => {
    expect(refusal(change)).toMatch(message);
    expect(refusal(change)).toMatch(/^x\.jsonl: line 2:/);
  });

  it("needs the registers of stage 1 where it is on, and at EL2", () => {
    const two = findLine(({ cat }) => cat === "t-ok");
    expect(refusal((line) => delete line.regs["ttbr0"], two)).toMatch(/regs\.ttbr0 is missing/);
    const hyp = findLine(({ cat }) => cat === "h-perm");
    expect(refusal((line) => delete line.regs["mair"], hyp)).toMatch(/regs\.mair is missing/);
  });

  it.each(["7", "[]", "null", '"x"'])("refuses %s", (line) => {
    expect(() => parseVectors("x.jsonl", [line])).toThrow(/^x\.jsonl: line 1: is not an object/);
  });
});

describe("the pattern", () => {
  it("tells its address and is an HVC instruction with the page's number", () => {
    expect(initialWord(0x538a_2500)).toBe(0x0a71_44a0_d407_1442n);
    expect(initialWord(0x5fff_fff8) & 1n).toBe(0n);
    expect(initialWord(0x6000_0000)).toBe(0n);
  });
});
