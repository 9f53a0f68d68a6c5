/**
 * A page table as text or JSON: neighbouring entries that look alike make one range, as kernels dump their tables.
 *
 *     stage 2: 40-bit input, 4K pages, start level 1, 5 table pages
 *     0x0040000000-0x0040200000     2M  L2  rwx  af   normal     0x0800000000
 */
import type { Entry } from "./decode.ts";
import { Prot } from "./prot.ts";

/** Neighbouring entries of one level that look alike. */
export interface EntryRange {
  readonly kind: "leaf" | "annotation" | "locked";
  /** First input address. */
  readonly ipa: number;
  /** Bytes. */
  readonly size: number;
  readonly level: number;
  /** How many entries. */
  readonly entries: number;
  /** Leaves: {@link Prot} bits, access flag, and first output address. */
  readonly prot?: number;
  readonly accessed?: boolean;
  readonly pa?: number;
  /** Leaves: whether the output addresses run on without a gap. */
  readonly contiguous?: boolean;
  /** Annotations: the owner. */
  readonly owner?: number;
}

/** A dump as JSON. */
export interface DumpDocument {
  readonly regime: "stage 2" | "hypervisor stage 1";
  readonly inputBits: number;
  readonly granule: string;
  readonly startLevel: number;
  readonly tablePages: number;
  readonly ranges: readonly EntryRange[];
}

type Open = { -readonly [K in keyof EntryRange]: EntryRange[K] };

/** Groups entries (tables and empty entries are left out). Two ranges never look alike and touch. */
export function* ranges(source: Iterable<Entry>): Generator<EntryRange, void, undefined> {
  let open: Open | undefined;
  for (const entry of source) {
    if (entry.kind === "table" || entry.kind === "empty") continue;
    if (open !== undefined && continues(open, entry)) {
      if (entry.kind === "leaf") open.contiguous = isContiguous(open, entry.pa);
      open.size += entry.size;
      open.entries++;
      continue;
    }
    if (open !== undefined) yield open;
    open = start(entry);
  }
  if (open !== undefined) yield open;
}

function start(entry: Exclude<Entry, { kind: "table" | "empty" }>): Open {
  const { kind, ipa, size, level } = entry;
  const place = { kind, ipa, size, level, entries: 1 };
  if (entry.kind === "annotation") return { ...place, owner: entry.owner };
  if (entry.kind === "locked") return place;
  const { prot, accessed, pa } = entry;
  return { ...place, prot, accessed, pa, contiguous: true };
}

function continues(open: Open, entry: Entry): boolean {
  if (open.kind !== entry.kind || open.level !== entry.level) return false;
  if (open.ipa + open.size !== entry.ipa) return false;
  if (entry.kind === "annotation") return open.owner === entry.owner;
  if (entry.kind !== "leaf") return true;
  return open.prot === entry.prot && open.accessed === entry.accessed;
}

function isContiguous(open: Open, pa: number): boolean {
  return open.contiguous === true && (open.pa as number) + open.size === pa;
}

/** A dump as lines of text. */
export function dumpText(document: DumpDocument): string {
  const digits = Math.ceil(document.inputBits / 4);
  const title =
    `${document.regime}: ${document.inputBits}-bit input, ${document.granule} pages, ` +
    `start level ${document.startLevel}, ${document.tablePages} table pages`;
  return [title, ...document.ranges.map((range) => line(range, digits))].join("\n") + "\n";
}

function line(range: EntryRange, digits: number): string {
  const place = `${hex(range.ipa, digits)}-${hex(range.ipa + range.size, digits)}`;
  const head = `${place} ${humanSize(range.size).padStart(6)}  L${range.level}`;
  if (range.kind === "locked") return `${head}  being changed`;
  if (range.kind === "annotation") return `${head}  owner ${range.owner}`;
  const prot = range.prot as number;
  const flag = range.accessed ? "af " : "old";
  const rest = range.contiguous ? "" : " ...";
  const text = `${head}  ${rights(prot)}  ${flag}  ${memoryType(prot)}`;
  return `${text}${software(prot)}  ${hex(range.pa as number, 10)}${rest}`;
}

/** `rwx`, with `-` for what is not allowed. */
export function rights(prot: number): string {
  return (prot & Prot.R ? "r" : "-") + (prot & Prot.W ? "w" : "-") + (prot & Prot.X ? "x" : "-");
}

function memoryType(prot: number): string {
  if (prot & Prot.DEVICE) return "device       ";
  return prot & Prot.NORMAL_NC ? "non-cacheable" : "normal       ";
}

function software(prot: number): string {
  const bits = [Prot.SW0, Prot.SW1, Prot.SW2, Prot.SW3];
  return bits.map((bit, i) => (prot & bit ? ` SW${i}` : "")).join("");
}

/** A size with the largest unit that divides it: `4K`, `2M`, `1G`. */
export function humanSize(bytes: number): string {
  const units = ["", "K", "M", "G", "T", "P"];
  let unit = 0;
  while (bytes >= 1024 && bytes % 1024 === 0 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${bytes}${units[unit]}`;
}

function hex(value: number, digits: number): string {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}
