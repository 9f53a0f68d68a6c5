/** The events of a step as the vectors write them: one line each, in order, table pointers masked. */
import { EVENT, EVENT_MASK, EVENT_RECORD, LEVEL_UNKNOWN, RECORD_BYTES } from "../_abi.ts";
import { Lines, token } from "./lines.ts";
import type { Machine } from "./machine.ts";
import type { Result } from "./vectors.ts";

/** What a script records: 1 without barriers and entry writes, 2 everything. */
export type TraceLevel = 1 | 2;

const TRACED = EVENT_MASK.TABLES | EVENT_MASK.MAINTENANCE;

/** The event groups that a trace level asks for. */
export const MASKS: Readonly<Record<TraceLevel, number>> = {
  1: TRACED,
  2: TRACED | EVENT_MASK.BARRIERS | EVENT_MASK.WRITES,
};

const TABLE = token("table");
const UNKNOWN = token("?");

/** First words of the lines. Kinds that are missing here are no events to the vectors. */
const WORDS = new Map([
  [EVENT.ALLOC, "alloc"],
  [EVENT.NOMEM, "nomem"],
  [EVENT.FREE, "free"],
  [EVENT.ALLOC_EXACT, "alloc_exact"],
  [EVENT.FREE_EXACT, "free_exact"],
  [EVENT.UNLINK, "unlink"],
  [EVENT.TLBI_VMID, "tlbi_vmid"],
  [EVENT.TLBI_IPA, "tlbi_ipa"],
  [EVENT.TLBI_IPA_NSH, "tlbi_ipa_nsh"],
  [EVENT.TLBI_RANGE, "tlbi_range"],
  [EVENT.TLBI_VAE2IS, "tlbi_va vae2is"],
  [EVENT.TLBI_VALE2IS, "tlbi_va vale2is"],
  [EVENT.DCACHE_CLEAN, "dclean"],
  [EVENT.ICACHE_INVAL, "iinval"],
  [EVENT.DSB_ISHST, "dsb_ishst"],
  [EVENT.DSB_ISH, "dsb_ish"],
  [EVENT.ISB, "isb"],
  [EVENT.WRITE, "w"],
  [EVENT.WRITE_UNLINKED, "wu"],
] as [number, string][]);

const FIRST_WORDS = Array.from({ length: 256 }, (_, kind) => {
  const word = WORDS.get(kind);
  return word === undefined ? undefined : token(word);
});

/** Barriers and writes: what trace level 2 has more than 1. */
function onlyInFullTrace(kind: number): boolean {
  return kind >= EVENT.DSB_ISHST;
}

/** Whether a non-zero entry at this level points at a table. */
export function isTable(low: number, level: number): boolean {
  return (low & 3) === 3 && level < 3;
}

/** Takes the events of a step out of the ring. */
export class EventLog {
  readonly #machine: Machine;
  readonly #ring: number;
  readonly #capacity: number;
  readonly #all = new Lines();
  readonly #without = new Lines();

  constructor(machine: Machine) {
    this.#machine = machine;
    this.#ring = machine.home.core.events_pointer() >>> 0;
    this.#capacity = machine.home.core.events_capacity();
  }

  /** Forgets what is in the ring. */
  clear(): void {
    this.#consume();
  }

  /** Kind of event number `index` since the last {@link take}; 0 while it is being written. */
  kindAt(index: number): number {
    return this.#machine.u8[this.#record(index) + EVENT_RECORD.KIND] as number;
  }

  get count(): number {
    return this.#machine.home.core.events_count();
  }

  /** The fields `alloc`, `free` and `ev` (or `evn`, `evh`, …) of a step's result; the ring is empty afterwards. */
  take(trace: TraceLevel, longest: number): Result {
    const kinds = this.#countKinds();
    this.#all.restart(kinds.events <= longest);
    this.#without.restart(false);
    for (let i = 0; i < kinds.records; i++) this.#write(i, trace === 2 && kinds.events > longest);
    this.#consume();
    return {
      ...(kinds.allocs > 0 && { alloc: kinds.allocs }),
      ...(kinds.frees > 0 && { free: kinds.frees }),
      ...(kinds.events > 0 && this.#listing(trace, longest)),
    };
  }

  #listing(trace: TraceLevel, longest: number): Result {
    if (this.#all.count <= longest) return { ev: this.#all.list() };
    const full = { evn: this.#all.count, evh: this.#all.digest() };
    if (trace === 1) return full;
    return { ...full, evn1: this.#without.count, evh1: this.#without.digest() };
  }

  #countKinds(): { records: number; events: number; allocs: number; frees: number } {
    const counts = { records: this.count, events: 0, allocs: 0, frees: 0 };
    for (let i = 0; i < counts.records; i++) {
      const kind = this.kindAt(i);
      if (FIRST_WORDS[kind] !== undefined) counts.events++;
      if (kind === EVENT.ALLOC) counts.allocs++;
      if (kind === EVENT.FREE) counts.frees++;
    }
    return counts;
  }

  #write(index: number, twice: boolean): void {
    const at = this.#record(index);
    const kind = this.#machine.u8[at + EVENT_RECORD.KIND] as number;
    const first = FIRST_WORDS[kind];
    if (first === undefined) return;
    this.#writeLine(this.#all, kind, first, at);
    if (twice && !onlyInFullTrace(kind)) this.#writeLine(this.#without, kind, first, at);
  }

  #writeLine(lines: Lines, kind: number, first: Uint8Array, at: number): void {
    lines.put(first);
    switch (kind) {
      case EVENT.ALLOC_EXACT:
      case EVENT.FREE_EXACT:
        lines.space();
        lines.decimal(this.#u32(at + EVENT_RECORD.N));
        break;
      case EVENT.UNLINK:
        this.#writeLevel(lines, at);
        break;
      case EVENT.TLBI_IPA:
      case EVENT.TLBI_IPA_NSH:
      case EVENT.TLBI_VAE2IS:
      case EVENT.TLBI_VALE2IS:
        this.#writeHex(lines, at + EVENT_RECORD.A);
        this.#writeLevel(lines, at);
        break;
      case EVENT.TLBI_RANGE:
        this.#writeHex(lines, at + EVENT_RECORD.A);
        lines.space();
        lines.decimal(Number(this.#machine.u64[(at + EVENT_RECORD.B) / 8]));
        break;
      case EVENT.DCACHE_CLEAN:
      case EVENT.ICACHE_INVAL:
        this.#writeHex(lines, at + EVENT_RECORD.A);
        this.#writeHex(lines, at + EVENT_RECORD.B);
        break;
      case EVENT.WRITE:
        this.#writeLevel(lines, at);
        this.#writeHex(lines, at + EVENT_RECORD.C);
        this.#writeEntry(lines, at);
        break;
      case EVENT.WRITE_UNLINKED:
        lines.space();
        lines.decimal(this.#u32(at + EVENT_RECORD.N));
        this.#writeEntry(lines, at);
    }
    lines.end();
  }

  #writeLevel(lines: Lines, at: number): void {
    const level = this.#level(at);
    lines.space();
    if (level === LEVEL_UNKNOWN) lines.put(UNKNOWN);
    else lines.decimal(level);
  }

  #writeEntry(lines: Lines, at: number): void {
    if (isTable(this.#u32(at + EVENT_RECORD.B), this.#level(at))) {
      lines.space();
      lines.put(TABLE);
    } else this.#writeHex(lines, at + EVENT_RECORD.B);
  }

  #writeHex(lines: Lines, at: number): void {
    lines.space();
    lines.hex(this.#u32(at + 4), this.#u32(at));
  }

  #level(at: number): number {
    return ((this.#machine.u8[at + EVENT_RECORD.LEVEL] as number) << 24) >> 24;
  }

  #u32(at: number): number {
    return this.#machine.u32[at >>> 2] as number;
  }

  #record(index: number): number {
    const number = (this.#machine.home.core.events_tail() + index) >>> 0;
    return this.#ring + (number % this.#capacity) * RECORD_BYTES;
  }

  #consume(): void {
    const core = this.#machine.home.core;
    const lost = core.events_lost();
    core.events_consume(core.events_count());
    if (lost > 0) throw new Error(`the event ring is too small: ${lost} events of one step lost`);
  }
}
