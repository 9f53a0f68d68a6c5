/** Events of vCPUs: what hardware reads and writes of page tables, what its TLBs hold. */
import { TLB_KIND, TLBI_OP, VCPU_EVENT } from "./_abi.ts";
import type { EventLevel, EventRecord } from "./_event_fields.ts";

/** A TLB invalidation instruction: its name without the shareability suffix. */
export type TlbiOperation = keyof typeof TLBI_OP;

/** What a TLB entry holds: both stages, stage 2 alone, or where a walk of a stage may go on. */
export type TlbEntryKind = (typeof ENTRIES)[keyof typeof ENTRIES];

/**
 * An event of a vCPU, whose number ({@link Vcpu.number}) is `cpu`. `slot` is the physical address of a descriptor, `pte`
 * its value; `address` the input address of that stage, kernel addresses as negative numbers.
 */
export type VcpuEvent =
  /** A walk fetched a descriptor. */
  | {
      readonly kind: "hwRead";
      readonly cpu: number;
      readonly stage: 1 | 2;
      readonly level: EventLevel;
      readonly slot: number;
      readonly pte: bigint;
      readonly address: number;
    }
  /** Hardware updated a descriptor, to `pte`. */
  | {
      readonly kind: "hwUpdate";
      readonly cpu: number;
      readonly stage: 1 | 2;
      readonly level: EventLevel;
      readonly slot: number;
      readonly pte: bigint;
      readonly address: number;
      /** It set the access flag; it made the leaf writable. */
      readonly accessFlag: boolean;
      readonly dirty: boolean;
    }
  /** A TLB took an entry in. */
  | {
      readonly kind: "tlbFill";
      readonly cpu: number;
      readonly entry: TlbEntryKind;
      readonly level: EventLevel;
      readonly vmid: number;
      readonly asid: number;
      readonly address: number;
      readonly ipa: number;
    }
  /** A translation used an entry (physical address `pa`) that memory no longer agrees with (`now`; undefined: none). */
  | {
      readonly kind: "tlbStale";
      readonly cpu: number;
      readonly entry: TlbEntryKind;
      readonly address: number;
      readonly pa: number;
      readonly now: number | undefined;
    }
  /** A new entry (`pa`) met another for the same address (`other`). */
  | {
      readonly kind: "tlbConflict";
      readonly cpu: number;
      readonly entry: TlbEntryKind;
      readonly address: number;
      readonly pa: number;
      readonly other: number;
    }
  /** A leaf of a contiguous group disagrees with the value `member` of another. */
  | {
      readonly kind: "contiguous";
      readonly cpu: number;
      readonly stage: 1 | 2;
      readonly level: EventLevel;
      readonly slot: number;
      readonly pte: bigint;
      readonly member: bigint;
    }
  /** An instruction invalidated TLB entries; `cpu` undefined: software outside every guest did. `pages` of 4 KiB. */
  | {
      readonly kind: "tlbi";
      readonly cpu: number | undefined;
      readonly op: TlbiOperation;
      readonly level: EventLevel;
      readonly vmid: number;
      readonly asid: number;
      readonly address: number;
      readonly pages: number;
      readonly broadcast: boolean;
    };

const ENTRIES = {
  [TLB_KIND.COMBINED]: "combined",
  [TLB_KIND.STAGE2]: "stage2",
  [TLB_KIND.WALK_STAGE2]: "walkStage2",
  [TLB_KIND.WALK_STAGE1]: "walkStage1",
} as const;

const OPERATIONS = Object.fromEntries(
  Object.entries(TLBI_OP).map(([name, op]) => [op, name]),
) as Readonly<Record<number, TlbiOperation>>;

const OUTSIDE = 2047;
const ACCESS_FLAG = 1;
const DIRTY = 2;

const cpuOf = ({ aux }: EventRecord) => aux >>> 4;
const stageOf = ({ aux }: EventRecord) => ((aux & 15) === 2 ? 2 : 1);
const entryOf = ({ aux }: EventRecord) => ENTRIES[(aux & 15) as keyof typeof ENTRIES];

function step(record: EventRecord) {
  const { level, a: slot, pte, signedC: address } = record;
  return { cpu: cpuOf(record), stage: stageOf(record), level, slot, pte, address } as const;
}

function tlb(record: EventRecord) {
  return { cpu: cpuOf(record), entry: entryOf(record), address: record.signedA };
}

/** Decoders by kind. */
export const VCPU_DECODE: Readonly<Record<number, (record: EventRecord) => VcpuEvent>> = {
  [VCPU_EVENT.HW_READ]: (record) => ({ kind: "hwRead", ...step(record) }),
  [VCPU_EVENT.HW_UPDATE]: (record) => ({
    kind: "hwUpdate",
    ...step(record),
    accessFlag: (record.n & ACCESS_FLAG) !== 0,
    dirty: (record.n & DIRTY) !== 0,
  }),
  [VCPU_EVENT.TLB_FILL]: (record) => ({
    kind: "tlbFill",
    ...tlb(record),
    level: record.level,
    vmid: record.n & 0xffff,
    asid: record.n >>> 16,
    ipa: record.c,
  }),
  [VCPU_EVENT.TLB_STALE]: (record) => ({
    kind: "tlbStale",
    ...tlb(record),
    pa: record.b,
    now: record.signedC < 0 ? undefined : record.c,
  }),
  [VCPU_EVENT.TLB_CONFLICT]: (record) => ({
    kind: "tlbConflict",
    ...tlb(record),
    pa: record.b,
    other: record.c,
  }),
  [VCPU_EVENT.CONTIGUOUS]: (record) => ({
    kind: "contiguous",
    cpu: cpuOf(record),
    stage: stageOf(record),
    level: record.level,
    slot: record.a,
    pte: record.pte,
    member: record.otherPte,
  }),
  [VCPU_EVENT.TLBI]: (record) => ({
    kind: "tlbi",
    cpu: record.aux >>> 5 === OUTSIDE ? undefined : record.aux >>> 5,
    op: OPERATIONS[record.aux & 31] as TlbiOperation,
    level: record.level,
    vmid: record.n & 0xffff,
    asid: record.n >>> 16,
    address: record.signedA,
    pages: record.b,
    broadcast: record.c === 1,
  }),
};
