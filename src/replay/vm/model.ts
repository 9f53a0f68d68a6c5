/**
 * What a trace tells above the page-table library: what the host was asked for, by its VMM, its guests and its memory
 * management, and the library calls that each of these made.
 *
 * Lines are places in the trace. Two CPUs overlap by their times, not by their lines: a line is where something began.
 */
import type { Call } from "../calls.ts";
import type { TraceRecord } from "../record.ts";

/** A call of the page-table library, or a flush of a TLB range by the layer above it. */
export type LibraryCall = Call;

/** Anything that the host was asked for. */
interface Work {
  readonly record: TraceRecord;
  readonly line: number;
  readonly thread: number;
}

/** A page table's life, which is a VM's. */
export interface Machine extends Work {
  readonly kind: "machine";
  /** Bytes of its root, and what `vm_new` asked for, if that was recorded. */
  readonly rootBytes: number;
  readonly ipaBits: number | undefined;
  /** Dirty bits start set, though no `enable_cap` says so: found by what followed. */
  initiallySet: boolean;
}

/** The VM's address space goes, and with it the page table. */
export interface Release extends Work {
  readonly kind: "release";
}

export interface Capability extends Work {
  readonly kind: "capability";
  readonly cap: number;
  readonly value: number;
  /** What KVM answered. */
  readonly answer: number;
}

/** A slot, as the VMM asked for it. */
export interface Region {
  readonly slot: number;
  readonly ipa: number;
  readonly size: number;
  readonly hva: number;
  readonly flags: number;
}

/** A change of a memory slot, in the stages that were recorded. */
export interface SlotChange extends Work {
  readonly kind: "slot";
  /** The old slot is invalid and its range is unmapped: DELETE and MOVE. */
  flush?: { readonly line: number; readonly calls: LibraryCall[] };
  /** `line`: the new set is published just before. */
  commit?: {
    readonly record: TraceRecord;
    readonly line: number;
    readonly region: Region;
    readonly bitmap: boolean;
    /** Protection, flush and splitting that follow. */
    readonly calls: LibraryCall[];
  };
}

/** A notifier of the host's memory management: a range of its address space is about to change. */
export interface Notifier extends Work {
  readonly kind: "notifier";
  readonly start: number;
  readonly end: number;
  /** A slot lies in the range: faults are kept off until it ends. */
  overlaps: boolean;
  /** Guest pages that it unmapped: first, and the one behind the last. */
  readonly pages: [number, number][];
  readonly calls: LibraryCall[];
  /** Where it is active from: its first `unmap_gfn`. */
  from: { line: number; time: number };
  /** Its end was announced at `line`; it came before the next record of the thread. */
  until?: { readonly line: number; readonly deadline: number; readonly announced: number };
  /** The guest abort in which it ran. */
  readonly inside: Abort | undefined;
}

/** A question of the host's memory management: was this range used? */
export interface Aging extends Work {
  readonly kind: "aging";
  readonly op: "clear" | "clear-flush" | "test";
  readonly start: number;
  readonly end: number;
  readonly answer: number;
  readonly pages: [number, number][];
  readonly calls: LibraryCall[];
}

/** One word of a dirty log that was taken: bits from page `page` of the slot on. */
export interface TakenWord {
  readonly record: TraceRecord;
  readonly line: number;
  readonly page: number;
  readonly mask: bigint;
  readonly calls: LibraryCall[];
}

/** KVM_GET_DIRTY_LOG or KVM_CLEAR_DIRTY_LOG. */
export interface DirtyLog extends Work {
  readonly kind: "log";
  readonly op: "get" | "clear";
  readonly slot: number;
  readonly words: TakenWord[];
  /** CLEAR: what was asked for. Absent: not recorded, what was taken is what was asked for. */
  readonly request?: {
    readonly first: number;
    readonly pages: number;
    readonly pattern: bigint;
  };
  /** The flush after the last word. */
  flush?: LibraryCall;
  /** Pages that were reported, and where. */
  count?: { readonly record: TraceRecord; readonly pages: number };
  /** The next thing that its thread did. */
  end: number;
}

/** A trapped write to a control register, or cache maintenance by set and way. */
export interface CacheControl extends Work {
  readonly kind: "caches";
  readonly op: "toggle" | "set-way";
  /** Whether the vCPU's caches were on, and are now. */
  readonly was: boolean;
  readonly now: boolean;
  readonly calls: LibraryCall[];
}

/** A guest abort. */
export interface Abort extends Work {
  readonly kind: "abort";
  readonly vcpu: number;
  readonly answer: number;
  readonly from: number;
  readonly to: number;
  readonly fault: { readonly ipa: number; readonly esr: bigint; readonly far: bigint };
  /** Its library calls: one at most, in a trace that is what it says. */
  readonly calls: Call[];
  /** Address at which the host's own page table was looked up. */
  lookup?: number;
  /** A device access, in the kernel or outside. */
  device?: {
    readonly address: number;
    readonly size: number;
    readonly write: boolean;
    readonly value: bigint;
    /** The value that was read is in it. */
    readonly satisfied: boolean;
  };
  /** Notifiers that ran inside it. */
  readonly own: Notifier[];
  /** It was taken that many times more, with nothing done. */
  readonly retries: number;
  /** First line of its thread after it. */
  end: number;
}

export type Happening =
  Machine | Release | Capability | SlotChange | Notifier | Aging | DirtyLog | CacheControl | Abort;

/** A trace, by what happened. */
export interface History {
  readonly happenings: readonly Happening[];
  /** Calls that belong to nothing that would make them. */
  readonly stray: readonly LibraryCall[];
  /** What was begun and has no end. */
  readonly broken: readonly string[];
}
