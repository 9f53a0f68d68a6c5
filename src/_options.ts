/** What a page table is made with: names on the outside, the core's option bits inside. */
import { OPTION } from "./_abi.ts";
import { Stage2Error } from "./errors.ts";
import { choiceOption, flagOption, integerOption } from "./range.ts";

/** Page size. */
export type Granule = "4K" | "16K" | "64K";

/** Who runs the page-table code: the host kernel, or code at EL2 that may not walk beside others (nVHE). */
export type WalkContext = "host" | "nvhe";

/** Options that every page table has. */
export interface TableOptions {
  /** Page size. Default 4K. */
  granule?: Granule;
  /** 52-bit descriptors for 4K and 16K pages (LPA2). Default off. */
  lpa2?: boolean;
  /** Built for 52-bit physical addresses (matters to 64K pages, and to the VTCR). Default: as `lpa2`. */
  pa52?: boolean;
  /** The CPU has TLB invalidation by range. Default off. */
  tlbiRange?: boolean;
  /** Default host. In nvhe, shared walks are refused (EPERM). */
  context?: WalkContext;
  /** Groups of events that this table logs. Default none: the fast paths run. */
  events?: readonly EventGroup[];
}

/** A group of logged events; see {@link EventLog}. */
export type EventGroup = (typeof EVENT_GROUPS)[number];

/** The groups, in the order of the core's mask bits. */
const EVENT_GROUPS = [
  "tables",
  "references",
  "maintenance",
  "flushCalls",
  "barriers",
  "writes",
  "visits",
] as const;

export const TABLE_OPTIONS = ["granule", "lpa2", "pa52", "tlbiRange", "context", "events"] as const;

const PAGE_SHIFT = { "4K": 12, "16K": 14, "64K": 16 } as const satisfies Record<Granule, number>;
/** Output sizes by PARange code (Arm ARM, ID_AA64MMFR0_EL1). */
const PA_BITS = [32, 36, 40, 42, 44, 48, 52];

/** log2 of the page size. */
export function pageShift(granule: Granule | undefined): 12 | 14 | 16 {
  return PAGE_SHIFT[choiceOption<Granule>("granule", granule ?? "4K", ["4K", "16K", "64K"])];
}

/** The granule with this page size. */
export function granuleOf(shift: number): Granule {
  return shift === 12 ? "4K" : shift === 14 ? "16K" : "64K";
}

/** Mask bits of event groups. */
export function eventMask(groups: readonly EventGroup[]): number {
  if (!Array.isArray(groups)) {
    throw new Stage2Error("BAD_OPTION", "events must be an array of groups", { events: groups });
  }
  return groups.reduce(
    (mask, group) =>
      mask | (1 << EVENT_GROUPS.indexOf(choiceOption("events", group, EVENT_GROUPS))),
    0,
  );
}

/** The option bit if the option is on. */
export function optionBit(options: object, name: string, bit: number, byDefault = false): number {
  const value = (options as Record<string, unknown>)[name] ?? byDefault;
  return flagOption(name, value) ? bit : 0;
}

/** Bits that descriptors and VTCR depend on. Software with LPA2 is built for 52-bit addresses. */
export function sizeBits(options: { lpa2?: boolean; pa52?: boolean }): number {
  const lpa2 = optionBit(options, "lpa2", OPTION.LPA2);
  return lpa2 | optionBit(options, "pa52", OPTION.PA52, lpa2 !== 0);
}

/** Bits that all page tables share. */
export function tableBits(options: TableOptions): number {
  const context = choiceOption<WalkContext>("context", options.context ?? "host", ["host", "nvhe"]);
  return (
    sizeBits(options) |
    optionBit(options, "tlbiRange", OPTION.TLBI_RANGE) |
    (context === "nvhe" ? OPTION.NVHE : 0)
  );
}

/** The smallest PARange code whose output size covers `bits`. */
function parangeFor(bits: number): number {
  return PA_BITS.findIndex((size) => size >= bits);
}

/** ID register fields that the VTCR is computed from: ID_AA64MMFR0_EL1.PARange, ID_AA64MMFR1_EL1.{VMIDBits, HAFDBS}. */
export function idRegisters(
  ipaBits: number,
  options: { parange?: number; vmidBits?: number; ha?: boolean },
): [mmfr0: bigint, mmfr1: bigint] {
  const parange = integerOption("parange", options.parange ?? parangeFor(ipaBits), 0, 6);
  const wide = choiceOption("vmidBits", options.vmidBits ?? 16, [8, 16]) === 16;
  const ha = flagOption("ha", options.ha ?? true);
  return [BigInt(parange), (wide ? 0x20n : 0n) | (ha ? 1n : 0n)];
}
