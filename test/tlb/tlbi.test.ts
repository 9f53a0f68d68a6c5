/**
 * Each TLB invalidation against each kind of entry: what goes, what stays (Arm ARM D8.14). Seen from what the vCPU does: a
 * descriptor is changed behind the TLB's back, and what still translates the old way was held.
 */
import { beforeEach, describe, expect, it } from "vitest";
import { TLBI_OP } from "../../src/_abi.ts";
import { Access, type TlbiOperation, type Vcpu, type VcpuTlbiRequest } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { BLOCK, DATA, Guest, MACHINE, OUT, PAGE, TABLES } from "./support.ts";

// One last-level table: not global, global, another name for what the first maps, and two that nobody has touched.
const VA = 0x60_0000;
const GLOBAL = VA + PAGE;
const ALIAS = VA + 2 * PAGE;
const FRESH1 = VA + 3 * PAGE;
const FRESH2 = VA + 4 * PAGE;
/** What changed descriptors lead to. */
const MOVED = 0x10_0000;

/**
 * Kinds of entries: combined, not global, of ASID 1; combined and global; combined of ASID 2; stage 2 alone; a stage-1 table
 * (of ASID 1); a stage-2 table.
 */
const KINDS = ["asid1", "global", "asid2", "stage2", "table1", "table2"] as const;
type Kind = (typeof KINDS)[number];

/** x: goes, .: stays, ~: either is right and we do not promise which. In the order of KINDS. */
// prettier-ignore
const CASES: [TlbiOperation, VcpuTlbiRequest, string][] = [
  ["VMALLE1",    {},                                            "xxx.x."],
  ["VMALLS12E1", {},                                            "xxxxxx"],
  ["ALLE1",      {},                                            "xxxxxx"],
  ["ASIDE1",     { asid: 1 },                                   "x...x."],
  ["ASIDE1",     { asid: 2 },                                   "..x.~."],
  ["ASIDE1",     { asid: 0 },                                   "....~."],
  ["ASIDE1",     { asid: 3 },                                   "....~."],
  ["VAE1",       { address: VA, asid: 1 },                      "x...x."],
  ["VAE1",       { address: VA + 0xff8, asid: 1 },              "x...x."],
  ["VAE1",       { address: VA, asid: 2 },                      "..x.~."],
  ["VAE1",       { address: VA, asid: 9 },                      "....~."],
  ["VAE1",       { address: GLOBAL, asid: 1 },                  ".x..x."],
  ["VAE1",       { address: GLOBAL, asid: 9 },                  ".x..~."],
  ["VAE1",       { address: FRESH1, asid: 1 },                  "....x."],
  ["VAE1",       { address: VA - PAGE, asid: 1 },               "......"],
  ["VALE1",      { address: VA, asid: 1 },                      "x....."],
  ["VALE1",      { address: VA, asid: 2 },                      "..x..."],
  ["VALE1",      { address: GLOBAL, asid: 9 },                  ".x...."],
  ["VAAE1",      { address: VA },                               "x.x.x."],
  ["VAAE1",      { address: GLOBAL },                           ".x..x."],
  ["VAALE1",     { address: VA },                               "x.x..."],
  ["VAALE1",     { address: GLOBAL },                           ".x...."],
  ["RVAE1",      { address: VA, pages: 1, asid: 1 },            "x...x."],
  ["RVAE1",      { address: VA, pages: 2, asid: 1 },            "xx..x."],
  ["RVAE1",      { address: VA - 4 * PAGE, pages: 4, asid: 1 }, "......"],
  ["RVAE1",      { address: VA - 4 * PAGE, pages: 5, asid: 1 }, "x...x."],
  ["RVAE1",      { address: 0, pages: 2 ** 21, asid: 1 },       "xx..x."],
  ["RVAE1",      { address: 0, pages: 2 ** 21, asid: 9 },       ".x..~."],
  ["RVALE1",     { address: VA, pages: 2, asid: 1 },            "xx...."],
  ["RVALE1",     { address: GLOBAL, pages: 2, asid: 1 },        ".x...."],
  ["RVAAE1",     { address: VA, pages: 2 },                     "xxx.x."],
  ["RVAALE1",    { address: VA, pages: 1 },                     "x.x..."],
  ["IPAS2E1",    { address: DATA },                             "...x.x"],
  ["IPAS2E1",    { address: DATA + 0xff8 },                     "...x.x"],
  ["IPAS2E1",    { address: DATA + PAGE },                      ".....x"],
  ["IPAS2E1",    { address: DATA - PAGE },                      "......"],
  ["IPAS2E1",    { address: TABLES },                           "......"],
  ["IPAS2LE1",   { address: DATA },                             "...x.."],
  ["IPAS2LE1",   { address: DATA + PAGE },                      "......"],
  ["RIPAS2E1",   { address: DATA, pages: 1 },                   "...x.x"],
  ["RIPAS2E1",   { address: DATA + PAGE, pages: 8 },            ".....x"],
  ["RIPAS2E1",   { address: DATA - 8 * PAGE, pages: 8 },        "......"],
  ["RIPAS2E1",   { address: DATA - 8 * PAGE, pages: 9 },        "...x.x"],
  ["RIPAS2E1",   { address: 0, pages: 2 ** 21 },                "...x.x"],
  ["RIPAS2LE1",  { address: DATA, pages: 512 },                 "...x.."],
  ["RIPAS2LE1",  { address: DATA + PAGE, pages: 511 },          "......"],
  // Level hints: only leaves of that level need to go, and do.
  ["VAE1",       { address: VA, asid: 1, level: 3 },            "x...~."],
  ["VAE1",       { address: VA, asid: 1, level: 2 },            "....~."],
  ["VAE1",       { address: VA, asid: 1, level: 1 },            "....~."],
  ["VALE1",      { address: VA, asid: 1, level: 3 },            "x....."],
  ["VALE1",      { address: VA, asid: 1, level: 2 },            "......"],
  ["VAAE1",      { address: VA, level: 3 },                     "x.x.~."],
  ["VAALE1",     { address: GLOBAL, level: 2 },                 "......"],
  ["RVAE1",      { address: VA, pages: 2, asid: 1, level: 3 },  "xx..~."],
  ["RVAALE1",    { address: VA, pages: 2, level: 2 },           "......"],
  ["IPAS2E1",    { address: DATA, level: 3 },                   "...x.~"],
  ["IPAS2E1",    { address: DATA, level: 2 },                   ".....~"],
  ["IPAS2E1",    { address: DATA, level: 1 },                   ".....~"],
  ["IPAS2LE1",   { address: DATA, level: 3 },                   "...x.."],
  ["IPAS2LE1",   { address: DATA, level: 2 },                   "......"],
  ["RIPAS2E1",   { address: DATA, pages: 4, level: 3 },         "...x.~"],
  ["RIPAS2LE1",  { address: DATA, pages: 4, level: 1 },         "......"],
];

describe("the table of invalidations", () => {
  it("has every operation", () => {
    expect(new Set(CASES.map(([op]) => op))).toEqual(new Set(Object.keys(TLBI_OP)));
  });
});

describe.each(MODES)("TLB invalidation by kind of entry (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  let ours: Guest;
  let theirs: Guest;

  beforeEach(() => {
    ours = new Guest(here);
    theirs = new Guest(here, { offset: 0x8_0000 });
    for (const guest of [ours, theirs]) {
      guest.s2.map({ ipa: DATA, size: 0x1_0000, pa: OUT, prot: 7 });
      for (const va of [VA, GLOBAL, FRESH1, FRESH2]) {
        guest.map(va, DATA + va - VA, va === GLOBAL ? 0n : 1n << 11n);
      }
      guest.map(ALIAS, DATA, 1n << 11n);
    }
  });

  const read = (vcpu: Vcpu, va: number) => vcpu.translate(va, Access.Read);
  const run = (vcpu: Vcpu, guest: Guest, asid: number) =>
    vcpu.setRegisters({ ...guest.switchTo(), ...guest.registers(asid) });

  function fill(vcpu: Vcpu, guest: Guest): void {
    run(vcpu, guest, 2);
    expect(read(vcpu, VA)).toBe(OUT);
    run(vcpu, guest, 1);
    expect(read(vcpu, VA)).toBe(OUT);
    expect(read(vcpu, GLOBAL)).toBe(OUT + PAGE);
  }

  /** Changes one descriptor, lets `observe` translate, and puts it back: whether the entry of this kind was still used. */
  function isHeld(vcpu: Vcpu, guest: Guest, kind: Kind): boolean {
    const from = (slot: ReturnType<Guest["slot1"]>, to: bigint, va: number, old: number) => {
      const before = slot.value;
      slot.value = to;
      run(vcpu, guest, kind === "asid2" ? 2 : 1);
      const pa = read(vcpu, va);
      slot.value = before;
      expect([old, old + MOVED]).toContain(pa);
      return pa === old;
    };
    const moved = (slot: ReturnType<Guest["slot1"]>) => slot.value + BigInt(MOVED);
    const { s2 } = guest;
    switch (kind) {
      case "asid1":
      case "asid2":
      case "global": {
        const va = kind === "global" ? GLOBAL : VA;
        s2.map({ ipa: DATA + MOVED, size: 2 * PAGE, pa: OUT + MOVED, prot: 7 });
        const slot = guest.slot1(va);
        return from(slot, moved(slot), va, OUT + va - VA);
      }
      case "stage2": {
        const slot = guest.slot2(DATA);
        return from(slot, moved(slot), ALIAS, OUT);
      }
      case "table1": {
        s2.map({ ipa: DATA + MOVED, size: 4 * PAGE, pa: OUT + MOVED, prot: 7 });
        const table = guest.newTable();
        const copy = here.engine.memoryMap.bytes(guest.paOf(table), PAGE);
        const at = (FRESH1 % BLOCK) / PAGE;
        const word = guest.slot1(FRESH1).value + BigInt(MOVED);
        new DataView(copy.buffer, copy.byteOffset).setBigUint64(at * 8, word, true);
        return from(guest.slot1(VA, 2), BigInt(table) | 3n, FRESH1, OUT + 3 * PAGE);
      }
      case "table2": {
        const table = guest.paOf(guest.newTable());
        const copy = here.engine.memoryMap.bytes(table, PAGE);
        const at = (((DATA + FRESH2 - VA) % BLOCK) / PAGE) * 8;
        const word = guest.slot2(DATA + FRESH2 - VA).value + BigInt(MOVED);
        new DataView(copy.buffer, copy.byteOffset).setBigUint64(at, word, true);
        return from(guest.slot2(DATA, 2), BigInt(table) | 3n, FRESH2, OUT + 4 * PAGE);
      }
    }
  }

  /** For each kind, on a vCPU of its own that has all of them: x if the entry is gone after `invalidate`. */
  function outcome(guest: Guest, invalidate: (vcpu: Vcpu) => void): string {
    return KINDS.map((kind) => {
      const vcpu = here.engine.vcpu(ours.s2, { tlb: { sets: 64, ways: 2 } });
      fill(vcpu, guest);
      run(vcpu, ours, 1);
      invalidate(vcpu);
      const held = isHeld(vcpu, guest, kind);
      vcpu.dispose();
      return held ? "." : "x";
    }).join("");
  }

  function matches(found: string, wanted: string): string {
    return [...found].map((mark, i) => (wanted[i] === "~" ? "~" : mark)).join("");
  }

  it("is needed: without one, every kind of entry is still used", () => {
    for (const guest of [ours, theirs]) expect(outcome(guest, () => {})).toBe("......");
  });

  it.each(CASES)("%s %o takes %s of the VMID that it names", (op, request, wanted) => {
    const issuers: Record<string, (vcpu: Vcpu) => void> = {
      broadcast: (vcpu) => vcpu.tlbi(op, request),
      local: (vcpu) => vcpu.tlbi(op, { ...request, local: true }),
      engine: () => here.engine.tlbi(op, { ...request, vmid: ours.s2.vmid }),
    };
    const chosen = Object.entries(issuers).slice(0, mode === "threads" ? 3 : 1);
    for (const [who, invalidate] of chosen) {
      expect(matches(outcome(ours, invalidate), wanted), who).toBe(wanted);
    }
  });

  // A TLB may drop anything at any time: what it does with tables of another VMID is the last test.
  it.each(CASES)("%s %o leaves entries of another VMID, ALLE1 apart", (op, request) => {
    const wanted = op === "ALLE1" ? "xxxxxx" : "....~~";
    const found = outcome(theirs, (vcpu) => vcpu.tlbi(op, request));
    expect(matches(found, wanted)).toBe(wanted);
  });

  it("takes entries of another VMID than that which runs, if it names it", () => {
    const { vmid } = theirs.s2;
    const of = (op: TlbiOperation, request: object = {}) =>
      outcome(theirs, () => here.engine.tlbi(op, { ...request, vmid }));
    expect(of("VMALLE1")).toBe("xxx.x.");
    expect(of("VMALLS12E1")).toBe("xxxxxx");
    expect(of("IPAS2E1", { address: DATA })).toBe("...x.x");
    expect(of("VALE1", { address: VA, asid: 1 })).toBe("x.....");
  });

  it("leaves cached tables of another VMID", () => {
    const by = (op: TlbiOperation, request: VcpuTlbiRequest) =>
      outcome(theirs, (vcpu) => vcpu.tlbi(op, request));
    expect(by("IPAS2E1", { address: DATA })).toBe("......");
    expect(by("VAE1", { address: VA, asid: 1 })).toBe("......");
  });
});
