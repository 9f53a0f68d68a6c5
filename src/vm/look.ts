/** What a VM shows of itself: its slots by what is mapped, its table like the kernel's debug file. */
import type { Leaf } from "../decode.ts";
import { humanSize } from "../dump.ts";
import { only } from "../iterate.ts";
import { Prot } from "../prot.ts";
import { type Range, span } from "../range.ts";
import type { VmPlace } from "./_place.ts";
import type { Memslot } from "./memslots.ts";

/** What of a memslot is mapped, in pages. */
export interface SlotStatistics {
  /** Of the slot. */
  readonly pages: number;
  /** Mapped: by leaves of each level (3: pages; 2 and 1: blocks), and in all. */
  readonly byLevel: Readonly<Record<1 | 2 | 3, number>>;
  readonly mapped: number;
  /** Of those, the ones with the access flag; and that may be written. */
  readonly accessed: number;
  readonly writable: number;
  /** Dirty in the bitmap of its log; undefined where it has none. */
  readonly dirty: number | undefined;
}

/** Reads the whole slot. */
export function slotStatistics(place: VmPlace, slot: Memslot): SlotStatistics {
  const byLevel = { 1: 0, 2: 0, 3: 0 };
  let [accessed, writable] = [0, 0];
  for (const leaf of leavesOf(place, slot.ipa, slot.size)) {
    const end = Math.min(leaf.ipa + leaf.size, slot.ipa + slot.size);
    const pages = (end - Math.max(leaf.ipa, slot.ipa)) / place.pageSize;
    byLevel[leaf.level as 1 | 2 | 3] += pages;
    if (leaf.accessed) accessed += pages;
    if ((leaf.prot & Prot.W) !== 0) writable += pages;
  }
  return {
    pages: slot.size / place.pageSize,
    byLevel,
    mapped: byLevel[1] + byLevel[2] + byLevel[3],
    accessed,
    writable,
    dirty: dirtyPages(place, slot),
  };
}

function* leavesOf(place: VmPlace, ipa: number, size: number | undefined): Generator<Leaf> {
  if (!place.table.isLive) return;
  yield* only(place.table.entries(ipa, size, { tables: false, invalid: false }), "leaf");
}

/** Bits that are set in the slot's bitmap now. */
function dirtyPages(
  { context, core, pointer, pageSize }: VmPlace,
  slot: Memslot,
): number | undefined {
  if (core.vm_slot(pointer, slot.slot) !== 1) return undefined;
  const bitmap = context.resultNumber(4);
  if (bitmap === 0) return undefined;
  const words = Math.ceil(slot.size / pageSize / 64) * 2;
  const halves = new Uint32Array(context.memory.buffer, bitmap, words);
  return halves.reduce((sum, half) => sum + bitCount(half), 0);
}

function bitCount(half: number): number {
  let bits = half - ((half >>> 1) & 0x5555_5555);
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

// ---- the debug file ----------------------------------------------------------------------------------------------

/** What tables of each level are called: those that map pages are PTE tables. */
const LEVELS = ["PGD", "PUD", "PMD", "PTE"];

/** Neighbouring leaves that look alike. */
interface Stretch {
  readonly ipa: number;
  size: number;
  readonly level: number;
  readonly attributes: string;
}

/**
 * The stage-2 table as text like that of `/sys/kernel/debug/kvm/<vm>/stage2_page_tables`: a line for neighbouring leaves of one level
 * with the same attributes. In front, what the files beside it hold.
 */
export function dumpTable(place: VmPlace, range: Range | undefined): string {
  const { iaBits, startLevel } = place.shape;
  const { ipa, size } = range === undefined ? { ipa: 0, size: undefined } : span(range);
  const lines = stretches(leavesOf(place, ipa, size)).map(line);
  const title = `ipa_range: ${iaBits}, stage2_levels: ${4 - startLevel}`;
  return [title, "---[ Guest IPA ]---", ...lines].join("\n") + "\n";
}

function stretches(leaves: Iterable<Leaf>): Stretch[] {
  const found: Stretch[] = [];
  for (const leaf of leaves) {
    const attributes = attributesOf(leaf);
    const last = found.at(-1);
    const { ipa, size, level } = leaf;
    const touches = last !== undefined && last.ipa + last.size === ipa;
    if (touches && last.level === level && last.attributes === attributes) last.size += size;
    else found.push({ ipa, size, level, attributes });
  }
  return found;
}

function attributesOf({ prot, accessed, level }: Leaf): string {
  const shown = (bit: number, text: string): string => ((prot & bit) !== 0 ? text : " ");
  const execute = (prot & Prot.X) !== 0 ? "X " : "NX";
  const flags = [accessed ? "AF" : "  ", level < 3 ? "BLK" : "   "].join(" ");
  return `${shown(Prot.R, "R")} ${shown(Prot.W, "W")} ${execute} ${flags}${memoryOf(prot)}`;
}

function memoryOf(prot: number): string {
  if ((prot & Prot.DEVICE) !== 0) return " DEVICE";
  return (prot & Prot.NORMAL_NC) !== 0 ? " NC" : "";
}

function line({ ipa, size, level, attributes }: Stretch): string {
  const place = `${hex(ipa)}-${hex(ipa + size)}`;
  return `${place} ${humanSize(size).padStart(8)} ${LEVELS[level] ?? ""} ${attributes}`.trimEnd();
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(16, "0")}`;
}
