/**
 * The areas of the host's address space (VMAs): a small table in the shared state, sorted by address, changed under one lock.
 *
 * Each thread keeps a copy and the sequence number it is of. A page changes only under its group's lock and after a look that
 * the number is still the same ({@link Areas.still}); who takes an area away changes the number first and clears its pages,
 * group by group, afterwards. So nothing appears in an area that is gone.
 *
 * The page words of an area lie in a row, whole groups of its own, and a block's words are one group. An area that is cut in
 * two keeps them where they are. Areas that are being taken away keep their words until they are clear.
 */
import { Stage2Error } from "../../errors.ts";
import { AREA_WORDS, HEADER, HEADER_WORDS, type State } from "./_layout.ts";
import type { Locks } from "./_lock.ts";

export const AREA_KINDS = ["anonymous", "thp", "hugetlb", "file", "device"] as const;
/** What an area is of. */
export type AreaKind = (typeof AREA_KINDS)[number];

/** A stretch of the host's address space. Bytes. */
export interface Area {
  readonly start: number;
  readonly end: number;
  readonly kind: AreaKind;
  readonly writable: boolean;
  readonly normalNc: boolean;
  readonly noMte: boolean;
  /** It is being taken away: by this thread - 1; 0: it is not. */
  readonly dying: number;
  /** What one page word is for: a page, or a huge page. */
  readonly unit: number;
  /** Of a device: what the host maps with one leaf. */
  readonly leaf: number;
  /** First page word, counted from the first of all. A device has none. */
  readonly words: number;
  /** Of a device: physical address of its first page. */
  readonly pa: number;
  /** Registrations for missing pages, and for pages that are only in the page cache. */
  readonly missing: number;
  readonly minor: number;
  /** Its number: those mapped later have higher ones. Parts of an area keep it. */
  readonly birth: number;
}

/** The areas at one time. */
export interface Look {
  readonly sequence: number;
  readonly areas: readonly Area[];
}

const FLAGS = { WRITABLE: 8, NORMAL_NC: 16, NO_MTE: 32 } as const;
const KIND_BITS = 7;

export class Areas {
  readonly #state: State;
  readonly #locks: Locks;
  #look: Look = { sequence: -1, areas: [] }; // of no time

  constructor(state: State, locks: Locks) {
    this.#state = state;
    this.#locks = locks;
  }

  /** The areas of now; those that are being taken away are not among them. */
  look(): Look {
    if (this.still(this.#look)) return this.#look;
    return this.#locks.hold(HEADER.AREA_LOCK, () => this.#remember(this.#read()));
  }

  still(look: Look): boolean {
    return this.#state.load(HEADER.AREA_SEQUENCE) === look.sequence;
  }

  /** Replaces the areas by what `change` makes of them (those that are being taken away included), or by nothing if it throws. */
  edit(change: (areas: readonly Area[]) => readonly Area[]): void {
    this.#locks.hold(HEADER.AREA_LOCK, () => {
      const areas = merged(change(this.#read()).toSorted((a, b) => a.start - b.start));
      const most = this.#state.shape.areas;
      if (areas.length > most) throw full(`there are at most ${most} areas`, areas.length);
      // Into the other table: a thread that is ended in here leaves the areas as they were.
      areas.forEach((area, index) => this.#write(this.#tableAt(1), index, area));
      this.#state.store(this.#tableAt(1), areas.length);
      Atomics.add(this.#state.words, HEADER.AREA_SEQUENCE, 1);
      this.#remember(areas);
    });
  }

  #remember(areas: readonly Area[]): Look {
    const sequence = this.#state.load(HEADER.AREA_SEQUENCE);
    this.#look = { sequence, areas: areas.filter((area) => area.dying === 0) };
    return this.#look;
  }

  #read(): Area[] {
    const table = this.#tableAt(0);
    const count = this.#state.load(table);
    return Array.from({ length: count }, (_, index) => this.#record(table, index));
  }

  /** The valid table, or with 1 the other. */
  #tableAt(other: 0 | 1): number {
    const which = (this.#state.load(HEADER.AREA_SEQUENCE) + other) & 1;
    return HEADER_WORDS + which * this.#state.tableWords;
  }

  #record(table: number, index: number): Area {
    const record = recordAt(table, index);
    const at = (word: number): number => this.#state.load(record + word);
    const { page } = this.#state;
    const pages = (word: number): number => (at(word + 1) * 2 ** 32 + (at(word) >>> 0)) * page;
    const flags = at(4);
    const start = pages(0);
    return {
      start,
      end: start + pages(2),
      kind: AREA_KINDS[flags & KIND_BITS] as AreaKind,
      writable: (flags & FLAGS.WRITABLE) !== 0,
      normalNc: (flags & FLAGS.NORMAL_NC) !== 0,
      noMte: (flags & FLAGS.NO_MTE) !== 0,
      unit: 2 ** (at(5) & 255),
      leaf: 2 ** (at(5) >>> 8),
      words: at(6),
      pa: pages(7),
      missing: at(9),
      minor: at(10),
      dying: at(11),
      birth: at(12),
    };
  }

  #write(table: number, index: number, area: Area): void {
    const { page } = this.#state;
    const record = recordAt(table, index);
    const put = (word: number, value: number): void => this.#state.store(record + word, value);
    const putPages = (word: number, bytes: number): void => {
      put(word, (bytes / page) | 0);
      put(word + 1, Math.floor(bytes / page / 2 ** 32));
    };
    putPages(0, area.start);
    putPages(2, area.end - area.start);
    put(4, AREA_KINDS.indexOf(area.kind) | flagsOf(area));
    put(5, Math.log2(area.unit) | (Math.log2(area.leaf) << 8));
    put(6, area.words);
    putPages(7, area.pa);
    put(9, area.missing);
    put(10, area.minor);
    put(11, area.dying);
    put(12, area.birth);
  }
}

function recordAt(table: number, index: number): number {
  return table + 1 + index * AREA_WORDS;
}

function flagsOf(area: Area): number {
  return (
    (area.writable ? FLAGS.WRITABLE : 0) |
    (area.normalNc ? FLAGS.NORMAL_NC : 0) |
    (area.noMte ? FLAGS.NO_MTE : 0)
  );
}

/** The area that holds the address. */
export function areaAt(areas: readonly Area[], hva: number): Area | undefined {
  let low = 0;
  let high = areas.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((areas[middle] as Area).end <= hva) low = middle + 1;
    else high = middle;
  }
  const found = areas[low];
  return found !== undefined && found.start <= hva ? found : undefined;
}

/** Whether the area was mapped before that of another number, or is it: numbers that are less than 2^31 apart. */
export function existedAt(area: Area, birth: number): boolean {
  return ((birth - area.birth) | 0) >= 0;
}

/** Cuts areas so that `from` and `to` are ends of areas, and replaces those between by what `change` makes of them. */
export function changeBetween(
  areas: readonly Area[],
  from: number,
  to: number,
  change: (area: Area) => Area,
): Area[] {
  return areas.flatMap((area) => {
    if (area.dying !== 0 || area.end <= from || area.start >= to) return [area];
    const [first, last] = [Math.max(area.start, from), Math.min(area.end, to)];
    const parts = [change(part(area, first, last))];
    if (area.start < first) parts.unshift(part(area, area.start, first));
    if (last < area.end) parts.push(part(area, last, area.end));
    return parts;
  });
}

function part(area: Area, start: number, end: number): Area {
  const offset = start - area.start;
  const device = area.kind === "device";
  const words = device ? 0 : area.words + offset / area.unit;
  return { ...area, start, end, words, pa: device ? area.pa + offset : 0 };
}

/** Puts parts of an area together that differ in nothing, as they were before they were cut. */
function merged(areas: readonly Area[]): Area[] {
  const result: Area[] = [];
  for (const area of areas) {
    const last = result.at(-1);
    if (last !== undefined && continues(last, area)) {
      result[result.length - 1] = { ...last, end: area.end };
    } else result.push(area);
  }
  return result;
}

function continues(a: Area, b: Area): boolean {
  if (a.end !== b.start || a.dying !== 0 || b.dying !== 0) return false;
  const next = part(a, a.end, b.end);
  return (Object.keys(b) as (keyof Area)[]).every((field) => next[field] === b[field]);
}

/** Where `count` page words that begin at a place ≡ `phase` (mod group) have room: the first gap of whole groups. */
export function roomFor(
  areas: readonly Area[],
  count: number,
  phase: number,
  group: number,
  total: number,
): number {
  const taken = areas
    .filter((area) => area.kind !== "device")
    .map((area) => {
      const last = area.words + (area.end - area.start) / area.unit;
      return { from: Math.floor(area.words / group) * group, to: Math.ceil(last / group) * group };
    })
    .sort((a, b) => a.from - b.from);
  const needed = Math.ceil((phase + count) / group) * group;
  let free = 0;
  for (const { from, to } of taken) {
    if (from - free >= needed) break;
    free = Math.max(free, to);
  }
  if (free + needed <= total) return free + phase;
  throw full("there are not so many page words left: mappablePages", count);
}

function full(message: string, value: number): Stage2Error {
  return new Stage2Error("ENOMEM", `guest memory: ${message}`, { value }, 12);
}
