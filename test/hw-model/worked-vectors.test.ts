/**
 * Worked walks: 4 KiB pages, 40-bit IPA (two concatenated level-1 tables), written into memory by hand. Each row is what
 * an access gives and what it leaves of the leaf D.
 */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES } from "../support.ts";
import { changed, machine, stage2Registers } from "./machine.ts";
import { IPA, PAGE, ROWS, type Row, UPDATES, VTCR_40 } from "./worked-rows.ts";

const { Read, Write } = Access;
const ROOT = 0x8000_0000;
const L1_512 = 0x8000_1000;
const L2_0 = 0x8000_2000;
const D = 0x8000_3008;
const HPFAR = 0x8000_0010n;

describe.each(MODES)("worked walks (%s)", (mode) => {
  const here = machine(mode);

  /** The row's tables, and a vCPU for them. */
  function set(row: Row, update: keyof typeof UPDATES, options: VcpuOptions): Vcpu {
    const { d = PAGE, l0 = 0n, l1 = 0x8000_2003n, l2 = 0x8000_3003n } = row;
    here.put({ [ROOT + 8]: l0, [L1_512]: l1, [L2_0]: l2, [D]: d });
    const vtcr = ((row.vtcr ?? VTCR_40) & ~UPDATES["HA HD"]) | UPDATES[update];
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
