/**
 * Worked walks: 4 KiB pages, 40-bit IPA (two concatenated level-1 tables), written into memory by hand. Each row is what
 * an access gives and what it leaves of the leaf D.
 */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES } from "../support.ts";
import { VTCR, changed, machine, stage2Registers } from "./machine.ts";

/** 4K, T0SZ 24, SL0 1, PS 40 bits, 16-bit VMIDs, HA. */
const VTCR_40 = 0x802a3558n;
/** 4K, T0SZ 16, SL0 2 (start at level 0), PS 48 bits. */
const VTCR_48 = 0x802d3590n;
const ROOT = 0x8000_0000;
const L1_512 = 0x8000_1000;
const L2_0 = 0x8000_2000;
const D = 0x8000_3008;
const IPA = 0x80_0000_1234;

interface Row {
  readonly id: string;
  /** The leaf. */
  readonly d?: bigint;
  /** Other entries than usual. */
  readonly entries?: Readonly<Record<number, bigint>>;
  readonly vtcr?: bigint;
  readonly ipa?: number;
  readonly access: number;
  /** Given: only with these. Else both with HA and without. */
  readonly update?: "none" | "HA" | "HA HD";
  /** PA, or what ESR and HPFAR say. */
  readonly gives: number | { ec?: number; fsc: number; wnr?: number; hpfar?: bigint };
  /** D as it is left; else as it was. */
  readonly after?: bigint;
  readonly options?: VcpuOptions;
}

const PAGE = 0x00400000900007ffn;
const { Read, Write, Fetch } = Access;

// prettier-ignore
const ROWS: readonly Row[] = [
  { id: "HV-1", d: PAGE, access: Read, gives: 0x9000_0234 },
  { id: "HV-2", d: 0n, access: Read, gives: { fsc: 0x07 } },
  { id: "HV-3", d: 0x00400000900007fdn, access: Read, gives: { fsc: 0x07 } },
  { id: "HV-4", d: 0x004000009000077fn, access: Write, gives: { fsc: 0x0f, wnr: 1 } },
  { id: "HV-5", d: 0x00400000900003ffn, access: Read, update: "none", gives: { fsc: 0x0b } },
  { id: "HV-6", d: 0x00400000900003ffn, access: Read, update: "HA", gives: 0x9000_0234, after: PAGE },
  { id: "HV-7", d: 0x004000009000037fn, access: Write, update: "HA", gives: { fsc: 0x0f, wnr: 1 } },
  { id: "HV-7, K-8", d: 0x004000009000037fn, access: Write, update: "HA", gives: { fsc: 0x0f, wnr: 1 },
    after: 0x004000009000077fn, options: { afOnPermissionFault: true } },
  { id: "HV-8", d: 0x004000009000037fn, access: Write, update: "none", gives: { fsc: 0x0b, wnr: 1 } },
  { id: "HV-9", d: PAGE, access: Fetch, gives: { ec: 0x20, fsc: 0x0f } },
  { id: "HV-10", d: 0x004800009000037fn, access: Write, update: "HA HD", gives: 0x9000_0234, after: 0x00480000900007ffn },
  { id: "HV-11", d: 0x004800009000077fn, access: Read, update: "HA HD", gives: 0x9000_0234 },
  { id: "HV-12", d: 0x004800009000077fn, access: Write, update: "HA", gives: { fsc: 0x0f, wnr: 1 } },
  { id: "HV-13", d: 0x00400100900007ffn, access: Read, gives: { fsc: 0x03 } },
  { id: "HV-14", d: PAGE, entries: { [L2_0]: 0x00400000a00007fdn }, access: Read, gives: 0xa000_1234 },
  { id: "HV-15", d: PAGE, entries: { [L2_0]: 0x0000010080003003n }, access: Read, gives: { fsc: 0x02 } },
  { id: "HV-16", d: PAGE, entries: { [L1_512]: 0n }, access: Read, gives: { fsc: 0x05 } },
  { id: "HV-17", d: PAGE, ipa: 0x100_0000_0000, access: Read, gives: { fsc: 0x04, hpfar: 0x1_0000_0000n } },
  { id: "HV-18", d: PAGE, vtcr: VTCR_48, entries: { [ROOT + 8]: 0x00400000000007fdn }, access: Read, gives: { fsc: 0x04 } },
  { id: "HV-19", d: PAGE, entries: { [L1_512]: 0x00400080000007fdn }, access: Read, gives: 0x80_0000_1234 },
];

const UPDATES = { none: 0n, HA: VTCR.HA, "HA HD": VTCR.HA | VTCR.HD } as const;
const HPFAR = 0x8000_0010n;

describe.each(MODES)("worked walks (%s)", (mode) => {
  const here = machine(mode);

  /** The row's tables, and a vCPU for them. */
  function set(row: Row, update: keyof typeof UPDATES, options: VcpuOptions): Vcpu {
    here.put({
      ...{ [L1_512]: 0x8000_2003n, [L2_0]: 0x8000_3003n, [D]: row.d ?? PAGE },
      ...row.entries,
    });
    const vtcr = ((row.vtcr ?? VTCR_40) & ~(VTCR.HA | VTCR.HD)) | UPDATES[update];
    const registers = stage2Registers(vtcr, ROOT);
    return here.vcpu({ registers, ...row.options, ...options });
  }

  const runs = ROWS.flatMap((row) =>
    (row.update === undefined ? (["none", "HA"] as const) : [row.update]).map(
      (update) => [row.id, update, row] as const,
    ),
  );

  it.each(runs)("%s with %s", (_id, update, row) => {
    const { ipa = IPA, access, gives, d = PAGE, after = d } = row;
    for (const tlb of [false, { sets: 4, ways: 1 }] as const) {
      const vcpu = set(row, update, { tlb });
      const result = vcpu.translate(ipa, access);
      if (typeof gives === "number") expect(result).toBe(gives);
      else {
        const { ec = 0x24, fsc, wnr = 0, hpfar = HPFAR } = gives;
        expect(result).toBeInstanceOf(Fault);
        const esr = (BigInt(ec) << 26n) | (1n << 25n) | (BigInt(wnr) << 6n) | BigInt(fsc);
        expect(result).toMatchObject({ fsc, esr, hpfar, far: BigInt(ipa), stage: 2, el: 2 });
      }
      expect(here.changes()).toEqual(after === d ? {} : changed(D, after));
    }
  });

  it.each(runs)("%s with %s, in a batch", (_id, update, row) => {
    const { ipa = IPA, access, gives, d = PAGE, after = d } = row;
    const batch = here.keep(here.engine.batch(5)); // four at a time, and one
    batch.addresses.fill(ipa);
    const vcpu = set(row, update, {});
    const failed = vcpu.translateMany(batch, access);
    expect(failed).toBe(typeof gives === "number" ? 0 : 5);
    const result = typeof gives === "number" ? gives : -1 - gives.fsc;
    expect([...batch.results]).toEqual(Array.from({ length: 5 }, () => result));
    expect(here.changes()).toEqual(after === d ? {} : changed(D, after));
  });

  it.each(runs)("%s with %s, as a probe that leaves no trace", (_id, update, row) => {
    const { ipa = IPA, access, gives } = row;
    const probe = set(row, update, {}).probe(ipa, access);
    expect(probe).toMatchObject(
      typeof gives === "number" ? { pa: gives, ipa } : { fsc: gives.fsc },
    );
    expect(here.changes()).toEqual({});
  });

  it("HV-10 is one update", () => {
    const row = ROWS.find(({ id }) => id === "HV-10")!;
    const vcpu = set(row, "HA HD", { events: ["updates"] });
    vcpu.translate(IPA, Write);
    expect([...here.engine.events.drain()]).toMatchObject([
      { kind: "hwUpdate", slot: D, pte: row.after, accessFlag: true, dirty: true },
    ]);
    expect(here.changes()).toEqual(changed(D, row.after!));
  });

  it.each(["none", "HA"] as const)("HV-20 with %s: HV-2 on a stage-1 descriptor", (update) => {
    const vcpu = set({ id: "HV-20", d: 0n, access: Read, gives: 0 }, update, {});
    // A level-1 descriptor at IPA 0x80_0000_1000 + 8 * 0x46, in that page.
    const va = 0x46 * 2 ** 30 + 0x765_4321;
    vcpu.setRegisters({
      ...{ sctlrEl1: 1n, ttbr0El1: 0x80_0000_1000n, mairEl1: 0xffn },
      tcrEl1: 25n | (1n << 23n) | (2n << 32n), // 39 bits of VA, no upper half, 40-bit IPAs
    });
    const fault = vcpu.translate(va, Read) as Fault;
    const esr = (0x24n << 26n) | (1n << 25n) | (1n << 7n) | 0x07n; // S1PTW, no ISV
    expect(fault).toMatchObject({ esr, fsc: 0x07, far: BigInt(va), hpfar: HPFAR });
    expect(fault).toMatchObject({ s1ptw: true, stage: 2, el: 2, level: 3, ipa: 0x80_0000_1230 });
    expect(fault.withSyndrome({ size: 4, register: 5 }).esr).toBe(esr);
    expect(here.changes()).toEqual({});
  });
});
