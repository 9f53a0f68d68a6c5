/** Events, as they are decoded from records of the ring. */
import { EVENT } from "./_abi.ts";
import type { EventLevel, EventRecord, VisitKind } from "./_event_fields.ts";
import { VCPU_DECODE, type VcpuEvent } from "./_vcpu_event.ts";
import { VM_DECODE, type VmEvent } from "./vm/event.ts";

export { EventRecord } from "./_event_fields.ts";
export type { EventLevel, VisitKind } from "./_event_fields.ts";

/** Where an event comes from. */
interface ByThread {
  /** Number of the thread: {@link Engine.thread} there. */
  readonly thread: number;
}

/** And which page table it is about. */
interface OfTable extends ByThread {
  /** Its {@link Stage2.vmid}. */
  readonly vmid: number;
}

/** TLB invalidation, cache maintenance, barriers. */
type MaintenanceEvent = OfTable &
  (
    | { readonly kind: "tlbiVmid" | "dsbIshst" | "dsbIsh" | "isb" }
    | { readonly kind: "tlbiIpa" | "tlbiIpaNsh"; readonly ipa: number; readonly level: EventLevel }
    | { readonly kind: "tlbiRange"; readonly ipa: number; readonly pages: number }
    | {
        readonly kind: "tlbiVae2is" | "tlbiVale2is";
        readonly va: number;
        readonly level: EventLevel;
      }
    | { readonly kind: "tlbFlushRange"; readonly ipa: number; readonly size: number }
    | { readonly kind: "dcacheClean" | "icacheInval"; readonly pa: number; readonly size: number }
  );

/** Table pages, references, stores. */
type TableEvent = ByThread &
  (
    | { readonly kind: "alloc" | "free" | "get" | "put"; readonly pa: number }
    | { readonly kind: "allocExact" | "freeExact"; readonly pa: number; readonly pages: number }
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
  );

/** One logged event. `pa` and `slot` are physical addresses of table pages and of entries. */
export type Event =
  | VcpuEvent
  | VmEvent
  | MaintenanceEvent
  | TableEvent
  | { readonly kind: "nomem" }
  | { readonly kind: "unlink"; readonly pa: number; readonly level: number }
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
  ...VM_DECODE,
  [EVENT.ALLOC]: ({ a, aux }) => ({ kind: "alloc", pa: a, thread: aux }),
  [EVENT.NOMEM]: () => ({ kind: "nomem" }),
  [EVENT.FREE]: ({ a, aux }) => ({ kind: "free", pa: a, thread: aux }),
  [EVENT.ALLOC_EXACT]: ({ a, n, aux }) => ({ kind: "allocExact", pa: a, pages: n, thread: aux }),
  [EVENT.FREE_EXACT]: ({ a, n, aux }) => ({ kind: "freeExact", pa: a, pages: n, thread: aux }),
  [EVENT.UNLINK]: ({ a, level }) => ({ kind: "unlink", pa: a, level: level as number }),
  [EVENT.GET]: ({ a, aux }) => ({ kind: "get", pa: a, thread: aux }),
  [EVENT.PUT]: ({ a, aux }) => ({ kind: "put", pa: a, thread: aux }),
  [EVENT.TLBI_VMID]: (record) => ({ kind: "tlbiVmid", ...origin(record) }),
  [EVENT.TLBI_IPA]: (record) => ({ kind: "tlbiIpa", ...addressed(record), ...origin(record) }),
  [EVENT.TLBI_IPA_NSH]: (record) => ({
    kind: "tlbiIpaNsh",
    ...addressed(record),
    ...origin(record),
  }),
  [EVENT.TLBI_RANGE]: (record) => ({
    kind: "tlbiRange",
    ipa: record.a,
    pages: record.b,
    ...origin(record),
  }),
  [EVENT.TLBI_VAE2IS]: (record) => ({
    kind: "tlbiVae2is",
    va: record.a,
    level: record.level,
    ...origin(record),
  }),
  [EVENT.TLBI_VALE2IS]: (record) => ({
    kind: "tlbiVale2is",
    va: record.a,
    level: record.level,
    ...origin(record),
  }),
  [EVENT.TLB_FLUSH_RANGE]: (record) => ({
    kind: "tlbFlushRange",
    ipa: record.a,
    size: record.b,
    ...origin(record),
  }),
  [EVENT.DCACHE_CLEAN]: (record) => ({
    kind: "dcacheClean",
    pa: record.a,
    size: record.b,
    ...origin(record),
  }),
  [EVENT.ICACHE_INVAL]: (record) => ({
    kind: "icacheInval",
    pa: record.a,
    size: record.b,
    ...origin(record),
  }),
  [EVENT.DSB_ISHST]: (record) => ({ kind: "dsbIshst", ...origin(record) }),
  [EVENT.DSB_ISH]: (record) => ({ kind: "dsbIsh", ...origin(record) }),
  [EVENT.ISB]: (record) => ({ kind: "isb", ...origin(record) }),
  [EVENT.WRITE]: ({ level, a, pte, c, aux }) => ({
    kind: "write",
    level,
    slot: a,
    pte,
    ipa: c,
    thread: aux,
  }),
  [EVENT.WRITE_UNLINKED]: ({ level, a, pte, n, aux }) => ({
    kind: "writeUnlinked",
    level,
    slot: a,
    pte,
    index: n,
    thread: aux,
  }),
  [EVENT.BREAK_LOST]: ({ level, a, pte, aux }) => ({
    kind: "breakLost",
    level,
    slot: a,
    found: pte,
    thread: aux,
  }),
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

/** Who sent maintenance, and for which page table. */
function origin({ aux, n }: EventRecord): { thread: number; vmid: number } {
  return { thread: aux, vmid: n };
}

function addressed({ a, level }: EventRecord): { ipa: number; level: EventLevel } {
  return { ipa: a, level };
}

/** The event that a record tells of. */
export function decodeEvent(record: EventRecord): Event {
  const known = DECODE[record.kind];
  if (known === undefined) throw new RangeError(`the core logged the unknown event ${record.kind}`);
  return known(record);
}
