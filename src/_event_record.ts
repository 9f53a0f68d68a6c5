/** Events, as they are decoded from records of the ring. */
import { EVENT } from "./_abi.ts";
import type { EventLevel, EventRecord, VisitKind } from "./_event_fields.ts";
import { VCPU_DECODE, type VcpuEvent } from "./_vcpu_event.ts";

export { EventRecord } from "./_event_fields.ts";
export type { EventLevel, VisitKind } from "./_event_fields.ts";

/** One logged event. `pa` and `slot` are physical addresses of table pages and of entries. */
export type Event =
  | VcpuEvent
  | { readonly kind: "alloc" | "free" | "get" | "put"; readonly pa: number }
  | { readonly kind: "nomem" }
  | { readonly kind: "allocExact" | "freeExact"; readonly pa: number; readonly pages: number }
  | { readonly kind: "unlink"; readonly pa: number; readonly level: number }
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
      /** Number of the thread that stored it. */
      readonly thread: number;
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

type Decode = (record: EventRecord) => Event;

const DECODE: Readonly<Record<number, Decode>> = {
  ...VCPU_DECODE,
  [EVENT.ALLOC]: ({ a }) => ({ kind: "alloc", pa: a }),
  [EVENT.NOMEM]: () => ({ kind: "nomem" }),
  [EVENT.FREE]: ({ a }) => ({ kind: "free", pa: a }),
  [EVENT.ALLOC_EXACT]: ({ a, n }) => ({ kind: "allocExact", pa: a, pages: n }),
  [EVENT.FREE_EXACT]: ({ a, n }) => ({ kind: "freeExact", pa: a, pages: n }),
  [EVENT.UNLINK]: ({ a, level }) => ({ kind: "unlink", pa: a, level: level as number }),
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
  [EVENT.WRITE]: ({ level, a, pte, c, aux }) => ({
    kind: "write",
    level,
    slot: a,
    pte,
    ipa: c,
    thread: aux,
  }),
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

/** The event that a record tells of. */
export function decodeEvent(record: EventRecord): Event {
  const known = DECODE[record.kind];
  if (known === undefined) throw new RangeError(`the core logged the unknown event ${record.kind}`);
  return known(record);
}
