/** Events of VMs: aborts, what the page-table library was asked, changes of memslots, pages that became dirty. */
import type { EventLevel, EventRecord } from "../_event_fields.ts";
import { ABORT, CHANGE, VM_EVENT } from "./_abi.ts";

/** Whose event it is. */
interface OfVm {
  /** Number of the thread: {@link Engine.thread} there. */
  readonly thread: number;
  /** Number of the VM: {@link Vm.number}. */
  readonly vm: number;
  /** Id of the vCPU; undefined where none had to do with it. */
  readonly vcpu: number | undefined;
}

/** A call of the page-table library; `result` 0 or a negative errno. */
interface OfCall extends OfVm {
  readonly result: number;
}

/** One event of a VM. Addresses and sizes in bytes. */
export type VmEvent =
  /** An abort was handled: what came of it, or a negative errno. */
  | (OfVm & {
      readonly kind: "fault";
      readonly ipa: number;
      readonly esr: bigint;
      /** Level of the fault status code. */
      readonly level: EventLevel;
      readonly outcome: FaultOutcome | undefined;
      /** 0, or a negative errno. */
      readonly result: number;
    })
  | (OfCall & {
      readonly kind: "map";
      readonly ipa: number;
      readonly size: number;
      /** {@link Prot} bits. */
      readonly prot: number;
      /** {@link WalkFlag} bits. */
      readonly flags: number;
    })
  | (OfCall & { readonly kind: "relax"; readonly ipa: number; readonly prot: number })
  | (OfCall & { readonly kind: "mkyoung"; readonly ipa: number; readonly old: bigint })
  | (OfCall & {
      readonly kind: "unmap" | "wrprotect" | "split" | "flush" | "flushTlb";
      readonly ipa: number;
      readonly size: number;
    })
  | (OfCall & {
      readonly kind: "age";
      readonly ipa: number;
      readonly size: number;
      /** Access flags were cleared. */
      readonly clear: boolean;
      readonly young: boolean;
    })
  /** A page became dirty in a log. */
  | (OfVm & { readonly kind: "dirty"; readonly slot: number; readonly gfn: number })
  | (OfVm & {
      readonly kind: "slot";
      readonly slot: number;
      readonly change: "none" | "create" | "delete" | "move" | "flags";
      readonly ipa: number;
      readonly size: number;
      readonly flags: number;
    })
  /** An invalidation by the host began, or ended. */
  | (OfVm & {
      readonly kind: "invalidate";
      readonly phase: "start" | "end";
      readonly hva: number;
      readonly size: number;
    });

/** What an abort came to, as {@link AbortOutcome} names it. */
export type FaultOutcome = (typeof OUTCOMES)[keyof typeof OUTCOMES];

const OUTCOMES = {
  [ABORT.RESUME]: "resume",
  [ABORT.INJECT]: "inject",
  [ABORT.SKIP]: "skip",
  [ABORT.SERROR]: "serror",
  [ABORT.MMIO]: "mmio",
  [ABORT.NISV]: "nisv",
  [ABORT.POISONED]: "poisoned",
} as const;

const CHANGES = {
  [CHANGE.NONE]: "none",
  [CHANGE.CREATE]: "create",
  [CHANGE.DELETE]: "delete",
  [CHANGE.MOVE]: "move",
  [CHANGE.FLAGS]: "flags",
} as const;

const NOBODY = 0xffff;
const HALF = 2 ** 32;

function origin({ aux, n }: EventRecord): OfVm {
  const vcpu = n & NOBODY;
  return { thread: aux, vm: n >>> 16, vcpu: vcpu === NOBODY ? undefined : vcpu };
}

/** Of a call: its errno is where other events have a level. */
function call(record: EventRecord): OfCall & { ipa: number } {
  return { ...origin(record), result: -(record.level ?? 0) || 0, ipa: record.a };
}

type Decode = (record: EventRecord) => VmEvent;

const stretch =
  (kind: "unmap" | "wrprotect" | "split" | "flush" | "flushTlb"): Decode =>
  (record) => ({ kind, ...call(record), size: record.b });

/** Decoders by kind. */
export const VM_DECODE: Readonly<Record<number, Decode>> = {
  [VM_EVENT.FAULT]: (record) => {
    const { a: ipa, pte: esr, level, signedC } = record;
    const outcome = OUTCOMES[signedC as keyof typeof OUTCOMES];
    return {
      kind: "fault",
      ...origin(record),
      ipa,
      esr,
      level,
      outcome,
      result: Math.min(signedC, 0),
    };
  },
  [VM_EVENT.MAP]: (record) => ({
    kind: "map",
    ...call(record),
    size: record.b,
    prot: record.c % HALF,
    flags: Math.floor(record.c / HALF),
  }),
  [VM_EVENT.RELAX]: (record) => ({ kind: "relax", ...call(record), prot: record.c }),
  [VM_EVENT.MKYOUNG]: (record) => ({ kind: "mkyoung", ...call(record), old: record.otherPte }),
  [VM_EVENT.UNMAP]: stretch("unmap"),
  [VM_EVENT.WRPROTECT]: stretch("wrprotect"),
  [VM_EVENT.SPLIT]: stretch("split"),
  [VM_EVENT.FLUSH]: stretch("flush"),
  [VM_EVENT.FLUSH_TLB]: stretch("flushTlb"),
  [VM_EVENT.AGE]: (record) => ({
    kind: "age",
    ...call(record),
    size: record.b,
    clear: (record.c & 1) !== 0,
    young: (record.c & 2) !== 0,
  }),
  [VM_EVENT.DIRTY]: (record) => ({
    kind: "dirty",
    ...origin(record),
    slot: record.b,
    gfn: record.a,
  }),
  [VM_EVENT.SLOT]: (record) => ({
    kind: "slot",
    ...origin(record),
    slot: record.c % HALF,
    change: CHANGES[(Math.floor(record.c / HALF) & 0xff) as keyof typeof CHANGES],
    flags: Math.floor(record.c / 2 ** 40),
    ipa: record.a,
    size: record.b,
  }),
  [VM_EVENT.INVALIDATE]: (record) => ({
    kind: "invalidate",
    ...origin(record),
    phase: record.c === 1 ? "start" : "end",
    hva: record.a,
    size: record.b - record.a,
  }),
};
