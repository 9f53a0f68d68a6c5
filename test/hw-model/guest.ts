/**
 * A small guest: 4K pages, 40-bit IPA. Page n of its memory is at IPA 0x80_0000_0000 + n * 4096 and at DATA; its own tables,
 * three levels for VA n * 4096 -> page n, lie at their IPA, a page of stage 2 each. Leaves are written by the tests.
 */
import type { Registers, Vcpu, VcpuOptions } from "../../src/index.ts";
import { DATA, HCR, type Machine, RAM, SCTLR, VTCR, stage2Registers } from "./machine.ts";
import { S1, S2, TABLE, leaf, tcrFor, vtcrFor } from "./paging.ts";

export const PAGE = 0x1000;
const ROOT2 = RAM.pa;
/** Level 2 and 3 for the pages. */
const [PAGES2, PAGES3] = [RAM.pa + 0x2000, RAM.pa + 0x3000];
/** Level 2 and 3 for the guest's tables. */
const [TABLES2, TABLES3] = [RAM.pa + 0x4000, RAM.pa + 0x5000];
/** Where the guest's tables are: levels 1, 2, 3. */
const GUEST = RAM.pa + 0x10_0000;

const SHAPE2 = { name: "4K/40", granule: "4K", start: 1, bits: 40 } as const;
const SHAPE1 = { name: "4K/39", granule: "4K", start: 1, bits: 39 } as const;
export const VTCR_40 = vtcrFor(SHAPE2, 40);
const TCR = tcrFor(SHAPE1, 40);
export const TCR_HA = 1n << 39n;
export const TCR_HD = 1n << 40n;

/** Leaf bits of both stages. */
export const NORMAL = S2.NORMAL | S2.ISH;
export const RW = NORMAL | S2.RW | S2.AF;
export const RO = NORMAL | S2.R | S2.AF;
/** Writable-clean: hardware may make it writable. */
export const CLEAN = RO | S2.DBM;
export const DIRTY = RW | S2.DBM;

export function ipaOf(page: number): number {
  return 0x80_0000_0000 + page * PAGE;
}
export function paOf(page: number): number {
  return DATA.pa + page * PAGE;
}
export function vaOf(page: number): number {
  return page * PAGE;
}
/** The stage-2 descriptor of a page, and of the guest's table of a level. */
export function slotOf(page: number): number {
  return PAGES3 + page * 8;
}
export function tableSlotOf(level: 1 | 2 | 3): number {
  return TABLES3 + (0x100 + level - 1) * 8;
}
/** Stage-2 tables on the way to a page, by their level: where their descriptor is. */
export const UPPER = { 1: ROOT2 + 0x200 * 8, 2: PAGES2 } as const;
/** The stage-1 descriptor of a page, of level 3; those of levels 1 and 2 on the way. */
export function slot1Of(page: number): number {
  return GUEST + 0x2000 + page * 8;
}
export const UPPER1 = { 1: GUEST, 2: GUEST + 0x1000 } as const;

/** A stage-2 leaf for a page. */
export function leaf2(page: number, bits: bigint): bigint {
  return leaf(3, paOf(page), bits);
}
/** A stage-2 leaf for the guest's table of a level. */
export function tableLeaf2(level: 1 | 2 | 3, bits: bigint): bigint {
  return leaf(3, GUEST + (level - 1) * PAGE, bits);
}
/** A stage-1 leaf. */
export function leaf1(page: number, bits: bigint): bigint {
  return leaf(3, ipaOf(page), bits);
}

/** Writes stage 2: pages by number. */
export function stage2(here: Machine, pages: Readonly<Record<number, bigint>>): void {
  here.put({ [UPPER[1]]: BigInt(PAGES2) | TABLE, [UPPER[2]]: BigInt(PAGES3) | TABLE });
  for (const [page, bits] of Object.entries(pages)) {
    here.set(slotOf(Number(page)), leaf2(Number(page), bits));
  }
}

/** Writes stage 1, pages by number, and the stage 2 of its tables: as `tables` says, from level 1 on. */
export function stage1(
  here: Machine,
  pages: Readonly<Record<number, bigint>>,
  tables: readonly [bigint, bigint, bigint] = [RO, RO, RO],
): void {
  here.put({ [ROOT2 + 2 * 8]: BigInt(TABLES2) | TABLE, [TABLES2]: BigInt(TABLES3) | TABLE });
  for (const level of [1, 2, 3] as const) {
    here.set(tableSlotOf(level), tableLeaf2(level, tables[level - 1] as bigint));
  }
  here.put({
    [UPPER1[1]]: BigInt(GUEST + PAGE) | TABLE,
    [UPPER1[2]]: BigInt(GUEST + 2 * PAGE) | TABLE,
  });
  for (const [page, bits] of Object.entries(pages)) {
    here.set(slot1Of(Number(page)), leaf1(Number(page), bits));
  }
}

export type Updates = "none" | "HA" | "HA HD" | "HD";
const VTCR_UPDATES = { none: 0n, HA: VTCR.HA, "HA HD": VTCR.HA | VTCR.HD, HD: VTCR.HD } as const;

/** Registers with stage 1 off, for which memory is not Device. */
export function flatRegisters(updates: Updates, more: Partial<Registers> = {}): Partial<Registers> {
  return { ...stage2Registers(VTCR_40 | VTCR_UPDATES[updates], ROOT2, HCR.DC), ...more };
}

/** Registers with stage 1 on. MAIR: attribute 0 write-back, 1 Device-nGnRnE, 2 non-cacheable. */
export function guestRegisters(
  updates: Updates,
  more: Partial<Registers> = {},
): Partial<Registers> {
  return {
    ...stage2Registers(VTCR_40 | VTCR_UPDATES[updates], ROOT2),
    ...{
      sctlrEl1: SCTLR.M,
      tcrEl1: TCR,
      ttbr0El1: BigInt(GUEST),
      ttbr1El1: BigInt(GUEST),
      mairEl1: 0x4400ffn,
    },
    ...more,
  };
}
export const GUEST_TCR = TCR;

/** CPUs of a machine: without stage 1, and with the guest's. */
export function cpusOf(here: Machine) {
  const cpu =
    (registers: (updates: Updates, more: Partial<Registers>) => Partial<Registers>) =>
    (options: VcpuOptions, updates: Updates = "none", more: Partial<Registers> = {}): Vcpu =>
      here.vcpu({ registers: registers(updates, more), ...options });
  return { flat: cpu(flatRegisters), guest: cpu(guestRegisters) };
}

export type Options = VcpuOptions & { el?: 0 | 1 | 2; pan?: boolean };
/** Leaf bits of stage 1: EL1 reads and writes; EL0 does too. */
export const KERNEL = S1.AF | S1.ISH;
export const USER = KERNEL | S1.USER;
