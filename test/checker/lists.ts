/** Event lists made by hand: a small page table, and what threads and vCPUs do to it. */
import { Checker, type CheckerOptions } from "../../src/checker/checker.ts";

/** What a checker observes. */
export type Observed = Parameters<Checker["observe"]>[0];

/** A 4K page table of 39 bits: a root of level 1, a table of level 2, one of level 3. */
export const ROOT = 0x8000_0000;
export const TABLE2 = 0x8000_1000;
export const TABLE3 = 0x8000_2000;
export const SPARE = 0x8000_3000;
export const VMID = 7;
/** Output addresses. */
export const A = 0x9000_0000;
export const B = 0xa000_0000;
/** Its first page. */
export const PAGE = 0x1000;
export const IPA = 0x4000_0000; // entry 1 of the root, entry 0 of both tables

export const LOCKED = 0x400n;
const PAGE_RW = 0x0040_0000_0000_07ffn;
const BLOCK_RW = 0x0040_0000_0000_07fdn;

export const page = (pa: number): bigint => BigInt(pa) | PAGE_RW;
export const block = (pa: number): bigint => BigInt(pa) | BLOCK_RW;
export const table = (pa: number): bigint => BigInt(pa) | 3n;

/** Slots by level: those that decide {@link IPA}. */
export const SLOT = { 1: ROOT + 8, 2: TABLE2, 3: TABLE3 } as const;

/** A store to the entry that decides IPA at this level. */
export function store(level: 1 | 2 | 3, pte: bigint, thread = 0): Observed {
  return { kind: "write", level, slot: SLOT[level], pte, ipa: IPA, thread };
}

/** A store to entry `index` of the level-3 table. */
export function storePage(index: number, pte: bigint, thread = 0): Observed {
  const [slot, ipa] = [TABLE3 + 8 * index, IPA + index * PAGE];
  return { kind: "write", level: 3, slot, pte, ipa, thread };
}

/** The tables are linked, and IPA maps to A. */
export const MAPPED: readonly Observed[] = [
  { kind: "allocExact", pa: ROOT, pages: 1 },
  { kind: "alloc", pa: TABLE2 },
  store(1, LOCKED),
  store(1, table(TABLE2)),
  { kind: "alloc", pa: TABLE3 },
  store(2, LOCKED),
  store(2, table(TABLE3)),
  store(3, LOCKED),
  store(3, page(A)),
];

/** The same with a block of 2 MiB, and no level-3 table. */
export const BLOCK_MAPPED: readonly Observed[] = [
  ...MAPPED.slice(0, 4),
  store(2, LOCKED),
  store(2, block(A)),
];

// One instruction each, of a thread.
export const ishst = (thread = 0): Observed => ({ kind: "dsbIshst", thread });
export const ish = (thread = 0): Observed => ({ kind: "dsbIsh", thread });

interface TlbiChange {
  readonly thread?: number;
  readonly level?: number | undefined;
  readonly vmid?: number;
  readonly address?: number;
  readonly pages?: number;
  readonly broadcast?: boolean;
}

/** A TLBI on IPA, all levels, to everybody, with what differs. */
export function tlbi(op: string, change: TlbiChange = {}): Observed {
  return {
    kind: "tlbi",
    cpu: undefined,
    op,
    level: undefined,
    vmid: VMID,
    address: IPA,
    pages: 1,
    broadcast: true,
    ...change,
  } as Observed;
}

/** The table as the checker is told of it. */
export const WATCHED = { root: ROOT, rootBytes: 4096, vmid: VMID };

/** A checker that has seen the events, and knows the table. */
export function checked(events: readonly Observed[], options: CheckerOptions = {}): Checker {
  const checker = new Checker(options);
  checker.watch(WATCHED);
  for (const event of events) checker.observe(event);
  return checker;
}

/** Rules that the events break, in the order found. */
export function rules(events: readonly Observed[], options?: CheckerOptions): string[] {
  return checked(events, options).violations.map(({ rule }) => rule);
}
