/**
 * What page tables logged, in order, over all threads: allocations, references, TLB and cache maintenance, barriers,
 * stores to entries, visits. A table logs the groups it was asked for; everything else costs nothing.
 *
 * The ring is shared by all threads of an engine and read by one at a time. When it is full, records are dropped and
 * counted: drain it often enough, or make it larger.
 */
import { type Core, EVENT, EVENT_RECORD, LEVEL_UNKNOWN, RECORD_BYTES } from "./_abi.ts";
import { type Context, disposed } from "./_context.ts";

/** Level of an entry, or `undefined` where the operation did not know it. */
export type EventLevel = number | undefined;

/** One logged event. `pa` and `slot` are physical addresses of table pages and of entries. */
export type Event =
  | { readonly kind: "alloc" | "free" | "get" | "put"; readonly pa: number }
  | { readonly kind: "nomem" }
  | { readonly kind: "allocExact" | "freeExact"; readonly pa: number; readonly pages: number }
  | { readonly kind: "unlink"; readonly pa: number; readonly level: EventLevel }
  | { readonly kind: "tlbiVmid" | "dsbIshst" | "dsbIsh" | "isb" }
  | { readonly kind: "tlbiIpa" | "tlbiIpaNsh"; readonly ipa: number; readonly level: EventLevel }
  | { readonly kind: "tlbiRange"; readonly ipa: number; readonly pages: number }
  | { readonly kind: "tlbiVae2is" | "tlbiVale2is"; readonly va: number; readonly level: EventLevel }
  | { readonly kind: "tlbFlushRange"; readonly ipa: number; readonly size: number }
  | { readonly kind: "dcacheClean" | "icacheInval"; readonly pa: number; readonly size: number }
  | {
      readonly kind: "write";
      readonly level: EventLevel;
      readonly slot: number;
      readonly pte: bigint;
      /** First input address of the entry. */
      readonly ipa: number;
    }
  | {
      readonly kind: "writeUnlinked";
      readonly level: EventLevel;
      readonly slot: number;
      readonly pte: bigint;
      readonly index: number;
    }
  | {
      readonly kind: "breakLost";
      readonly level: EventLevel;
      readonly slot: number;
      readonly found: bigint;
    }
  | {
      readonly kind: "visit";
      readonly level: EventLevel;
      readonly visit: VisitKind;
      readonly slot: number;
      readonly old: bigint;
      readonly ipa: number;
    }
  | {
      readonly kind: "visitEnd";
      readonly level: EventLevel;
      readonly visit: VisitKind;
      readonly result: number;
      readonly slot: number;
      readonly now: bigint;
      readonly ipa: number;
    }
  /** Events that were dropped because the ring was full, since the last drain. */
  | { readonly kind: "lost"; readonly count: number };

/** Which visit of a walk. */
export type VisitKind = "leaf" | "pre" | "post";

const VISIT_KINDS: Readonly<Record<number, VisitKind>> = { 1: "leaf", 2: "pre", 4: "post" };
const CHUNK = 256;
const WORDS = RECORD_BYTES / 4;

/** A copied record, field by field. */
class EventRecord {
  words = new Uint32Array(0);
  at = 0;

  get kind(): number {
    return this.#word(EVENT_RECORD.KIND) & 0xff;
  }

  get level(): EventLevel {
    const level = (this.#word(EVENT_RECORD.KIND) << 16) >> 24;
    return level === LEVEL_UNKNOWN ? undefined : level;
  }

  get visit(): VisitKind {
    return VISIT_KINDS[this.#word(EVENT_RECORD.KIND) >>> 16] as VisitKind;
  }

  get n(): number {
    return this.#word(EVENT_RECORD.N);
  }

  get a(): number {
    return this.#number(EVENT_RECORD.A);
  }

  get b(): number {
    return this.#number(EVENT_RECORD.B);
  }

  get c(): number {
    return this.#number(EVENT_RECORD.C);
  }

  /** Field `b` where it is a descriptor. */
  get pte(): bigint {
    const low = this.#word(EVENT_RECORD.B);
    return (BigInt(this.#word(EVENT_RECORD.B + 4)) << 32n) | BigInt(low);
  }

  #word(offset: number): number {
    return this.words[this.at + offset / 4] as number;
  }

  #number(offset: number): number {
    return this.#word(offset + 4) * 2 ** 32 + this.#word(offset);
  }
}

type Decode = (record: EventRecord) => Event;

const DECODE: Readonly<Record<number, Decode>> = {
  [EVENT.ALLOC]: ({ a }) => ({ kind: "alloc", pa: a }),
  [EVENT.NOMEM]: () => ({ kind: "nomem" }),
  [EVENT.FREE]: ({ a }) => ({ kind: "free", pa: a }),
  [EVENT.ALLOC_EXACT]: ({ a, n }) => ({ kind: "allocExact", pa: a, pages: n }),
  [EVENT.FREE_EXACT]: ({ a, n }) => ({ kind: "freeExact", pa: a, pages: n }),
  [EVENT.UNLINK]: ({ a, level }) => ({ kind: "unlink", pa: a, level }),
  [EVENT.GET]: ({ a }) => ({ kind: "get", pa: a }),
  [EVENT.PUT]: ({ a }) => ({ kind: "put", pa: a }),
  [EVENT.TLBI_VMID]: () => ({ kind: "tlbiVmid" }),
  [EVENT.TLBI_IPA]: ({ a, level }) => ({ kind: "tlbiIpa", ipa: a, level }),
  [EVENT.TLBI_IPA_NSH]: ({ a, level }) => ({ kind: "tlbiIpaNsh", ipa: a, level }),
  [EVENT.TLBI_RANGE]: ({ a, b }) => ({ kind: "tlbiRange", ipa: a, pages: b }),
  [EVENT.TLBI_VAE2IS]: ({ a, level }) => ({ kind: "tlbiVae2is", va: a, level }),
  [EVENT.TLBI_VALE2IS]: ({ a, level }) => ({ kind: "tlbiVale2is", va: a, level }),
  [EVENT.TLB_FLUSH_RANGE]: ({ a, b }) => ({ kind: "tlbFlushRange", ipa: a, size: b }),
  [EVENT.DCACHE_CLEAN]: ({ a, b }) => ({ kind: "dcacheClean", pa: a, size: b }),
  [EVENT.ICACHE_INVAL]: ({ a, b }) => ({ kind: "icacheInval", pa: a, size: b }),
  [EVENT.DSB_ISHST]: () => ({ kind: "dsbIshst" }),
  [EVENT.DSB_ISH]: () => ({ kind: "dsbIsh" }),
  [EVENT.ISB]: () => ({ kind: "isb" }),
  [EVENT.WRITE]: ({ level, a, pte, c }) => ({ kind: "write", level, slot: a, pte, ipa: c }),
  [EVENT.WRITE_UNLINKED]: ({ level, a, pte, n }) => ({
    kind: "writeUnlinked",
    level,
    slot: a,
    pte,
    index: n,
  }),
  [EVENT.BREAK_LOST]: ({ level, a, pte }) => ({ kind: "breakLost", level, slot: a, found: pte }),
  [EVENT.VISIT]: ({ level, visit, a, pte, c }) => ({
    kind: "visit",
    level,
    visit,
    slot: a,
    old: pte,
    ipa: c,
  }),
  [EVENT.VISIT_END]: ({ level, visit, n, a, pte, c }) => ({
    kind: "visitEnd",
    level,
    visit,
    result: n | 0,
    slot: a,
    now: pte,
    ipa: c,
  }),
};

/** The event ring of an engine. Refuses use after the engine was disposed (`DISPOSED`). */
export class EventLog {
  readonly #context: Context;
  #open = true;

  /** @internal */
  constructor(context: Context) {
    this.#context = context;
    context.add(this);
  }

  /** Records waiting to be drained. */
  get count(): number {
    return this.#core.events_count();
  }

  /** Records that the ring holds. */
  get capacity(): number {
    return this.#core.events_capacity();
  }

  /**
   * Takes the events out of the ring, oldest first, until it is empty. What was yielded is gone, also when the loop is
   * left early. If records were dropped, a `lost` event with their number comes last.
   */
  *drain(): Generator<Event, void, undefined> {
    const record = new EventRecord();
    for (let count = this.count; count > 0; count = this.count) {
      let taken = 0;
      record.words = this.#copy(Math.min(count, CHUNK));
      try {
        for (record.at = 0; record.at < record.words.length; record.at += WORDS) {
          taken++;
          yield decode(record);
        }
      } finally {
        if (this.#open) this.#core.events_consume(taken);
      }
    }
    const lost = this.#core.events_lost();
    if (lost > 0) yield { kind: "lost", count: lost };
  }

  /** Throws the waiting events away, and forgets how many were lost. */
  clear(): void {
    this.#core.events_consume(this.count);
    this.#core.events_lost();
  }

  /** @internal */
  close(): void {
    this.#open = false;
  }

  get #core(): Core {
    if (!this.#open) throw disposed("engine");
    return this.#context.core;
  }

  /** The oldest `count` records; the ring may wrap among them. */
  #copy(count: number): Uint32Array<ArrayBuffer> {
    const core = this.#core;
    const { u32 } = this.#context;
    const capacity = core.events_capacity();
    const first = (core.events_pointer() >>> 0) / 4;
    const tail = core.events_tail() % capacity;
    const unwrapped = Math.min(count, capacity - tail);
    const words = new Uint32Array(count * WORDS);
    const from = first + tail * WORDS;
    words.set(u32.subarray(from, from + unwrapped * WORDS));
    words.set(u32.subarray(first, first + (count - unwrapped) * WORDS), unwrapped * WORDS);
    return words;
  }
}

function decode(record: EventRecord): Event {
  const known = DECODE[record.kind];
  if (known === undefined) throw new RangeError(`the core logged the unknown event ${record.kind}`);
  return known(record);
}
