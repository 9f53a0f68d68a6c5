/** The tests' own machine: it tells what changed, or the others could not fail. */
import { describe, expect, it } from "vitest";
import { MODES } from "../support.ts";
import { DATA, Machine, RAM, changed, machine } from "./machine.ts";
import { chain, entryShift, sampleAddress, tcrFor, vtcrFor } from "./paging.ts";

describe.each(MODES)("the machine of these tests (%s)", (mode) => {
  const here = machine(mode);

  it("tells each word that changed and that software did not write", () => {
    here.put({ [RAM.pa]: 1n, [RAM.pa + 0x1_0008]: 2n, [DATA.pa]: 3n });
    expect(here.changes()).toEqual({});
    for (const pa of [RAM.pa, RAM.pa + 0x1_0008, RAM.pa + RAM.size - 8, DATA.pa + 0x3_fff8]) {
      here.engine.memoryMap.bytes(pa + 7, 1)[0]! ^= 0x80;
      expect(here.changes()).toEqual(changed(pa, here.get(pa)));
      expect(here.changes()).toEqual({});
    }
    here.engine.memoryMap.bytes(DATA.pa + 16, 1)[0] = 9;
    here.set(DATA.pa + 24, 5n);
    expect(here.changes()).toEqual(changed(DATA.pa + 16, 9n));
  });

  it("starts from zeros", () => {
    for (const { pa, size } of [RAM, DATA]) {
      expect(here.engine.memoryMap.bytes(pa, size).every((byte) => byte === 0)).toBe(true);
    }
  });

  it("does not let a change pass, neither between cases nor at the end", async () => {
    const own = new Machine();
    await own.open(mode);
    own.set(RAM.pa, 1n);
    own.engine.memoryMap.bytes(RAM.pa, 1)[0] = 2;
    expect(() => own.next()).toThrow(/0x80000000 changed/);
    expect(() => own.clean()).toThrow(/nobody asked for/);
    own.close();
  });

  it("writes tables where their indexes say", () => {
    const shape = { name: "", granule: "16K", start: 1, bits: 47 } as const;
    expect([3, 2, 1].map((level) => entryShift("16K", level))).toEqual([14, 25, 36]);
    expect(sampleAddress(shape)).toBe(2 ** 36 + 2 ** 25 + 2 ** 14 + 0x238);
    const tables = { root: RAM.pa, below: RAM.pa + 0x2_0000 };
    const slots = chain(here, shape, tables, 3 * 2 ** 36 + 5 * 2 ** 25 + 7 * 2 ** 14, 3, 0x99n);
    expect(slots).toEqual({ 1: RAM.pa + 24, 2: RAM.pa + 0x2_0028, 3: RAM.pa + 0x3_0038 });
    expect(here.get(RAM.pa + 24)).toBe(BigInt(RAM.pa + 0x2_0003));
    expect(here.get(slots[3])).toBe(0x99n);
  });

  it("names sizes as the registers do", () => {
    const shape = { name: "", granule: "4K", start: 1, bits: 40 } as const;
    expect(vtcrFor(shape, 40)).toBe(0x800a3558n & ~0x500n); // without walk cacheability
    expect(tcrFor({ ...shape, bits: 39 }, 40)).toBe(
      25n | (25n << 16n) | (2n << 30n) | (2n << 32n) | (3n << 12n) | (3n << 28n),
    );
  });
});
