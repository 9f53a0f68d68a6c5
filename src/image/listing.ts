/**
 * An imported regime as JSON and as text.
 *
 *     s2.cpu1: stage 2, 40-bit input, 4K pages, start level 1, root 0x43bdc000, 11 table pages, 2057 leaves
 *     0x0040000000-0x0040200000     2M  L2  rwx normal inner af          0x004b800000
 *
 * All addresses are those of the dumped machine, table addresses included. They are strings in hex: the upper half of
 * a stage 1 does not fit a number.
 */
import { granuleOf } from "../_options.ts";
import { humanSize } from "../dump.ts";
import { describeAttributes, describeInvalid } from "./attributes.ts";
import type { Regime } from "./format.ts";
import type { ImageRange } from "./ranges.ts";
import type { ImportedTable, Origin } from "./table.ts";

/** A range, in print. */
export interface RangeDocument {
  readonly kind: "leaf" | "invalid";
  readonly start: string;
  /** First address behind the range. */
  readonly end: string;
  readonly level: number;
  readonly entries: number;
  /** Leaves: first output address, and whether the rest follows without a gap. */
  readonly pa?: string;
  readonly contiguous?: boolean;
  /** Leaves: every bit but the address. Invalid entries: the entry. */
  readonly bits: string;
  /** The same in words. */
  readonly text: string;
}

/** A table page, in print. */
export interface TableDocument {
  readonly address: string;
  readonly level: number;
  /** First input address. */
  readonly start: string;
  /** Not in the dump: its guest's stage 2 did not map it. */
  readonly absent?: true;
}

/** A regime, in print. */
export interface RegimeDocument {
  readonly regime: string;
  readonly stage: 1 | 2;
  readonly granule: string;
  readonly inputBits: number;
  readonly startLevel: number;
  readonly lpa2: boolean;
  readonly root: string;
  /** Leaves by level, and all of them. */
  readonly leaves: Readonly<Record<number, number>>;
  readonly leafCount: number;
  /** Invalid entries that are not zero. */
  readonly invalid: number;
  readonly tables: readonly TableDocument[];
  readonly ranges: readonly RangeDocument[];
}

/** Everything that a dump says about a regime. */
export function regimeDocument(table: ImportedTable): RegimeDocument {
  const { regime } = table;
  const { leaves, leafCount, invalid } = table.counters();
  return {
    regime: regime.name,
    stage: regime.stage,
    granule: granuleOf(regime.pageShift),
    inputBits: regime.iaBits,
    startLevel: regime.startLevel,
    lpa2: regime.lpa2,
    root: hex(BigInt(regime.root)),
    leaves,
    leafCount,
    invalid,
    tables: [...table.origins.values()].map((origin) => tableDocument(regime, origin)),
    ranges: Array.from(table.ranges(), (range) => rangeDocument(regime, range)),
  };
}

function tableDocument(regime: Regime, origin: Origin): TableDocument {
  const address = hex(BigInt(origin.address + origin.within));
  const place = { address, level: origin.level, start: input(regime, origin.ia) };
  return origin.page === undefined ? { ...place, absent: true } : place;
}

function rangeDocument(regime: Regime, range: ImageRange): RangeDocument {
  const { kind, level, entries, attributes } = range;
  const isLeaf = kind === "leaf";
  const describe = isLeaf ? describeAttributes : describeInvalid;
  return {
    kind,
    start: input(regime, range.ia),
    end: input(regime, range.ia + range.size),
    level,
    entries,
    ...(range.pa === undefined ? {} : { pa: hex(BigInt(range.pa), 10) }),
    ...(range.contiguous === undefined ? {} : { contiguous: range.contiguous }),
    bits: hex(attributes),
    text: describe(regime, attributes),
  };
}

/** A regime as lines of text. */
export function regimeText(document: RegimeDocument): string {
  const absent = document.tables.filter((table) => table.absent).length;
  const title = [
    `${document.regime}: stage ${document.stage}`,
    `${document.inputBits}-bit input`,
    `${document.granule} pages`,
    `start level ${document.startLevel}`,
    `root ${document.root}`,
    `${document.tables.length - absent} table pages`,
    ...(absent > 0 ? [`${absent} tables not in the dump`] : []),
    `${document.leafCount} leaves`,
    ...(document.invalid > 0 ? [`${document.invalid} invalid entries that are not zero`] : []),
  ].join(", ");
  const width = Math.max(0, ...document.ranges.map(({ text }) => text.length));
  return [title, ...document.ranges.map((range) => line(range, width))].join("\n");
}

function line(range: RangeDocument, width: number): string {
  const size = humanSize(Number(BigInt(range.end) - BigInt(range.start)));
  const head = `${range.start}-${range.end} ${size.padStart(6)}  L${range.level}`;
  if (range.pa === undefined) return `${head}  ${range.text}`;
  const rest = range.contiguous ? "" : " …";
  return `${head}  ${range.text.padEnd(width)}  ${range.pa}${rest}`;
}

function input(regime: Regime, ia: number): string {
  const digits = regime.iaBase === 0n ? Math.ceil(regime.iaBits / 4) : 16;
  return hex(regime.iaBase + BigInt(ia), digits);
}

function hex(value: bigint, digits = 1): string {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}
