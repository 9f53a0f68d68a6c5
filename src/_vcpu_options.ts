/** What a vCPU is made with: names on the outside, the core's settings inside. */
import { KNOB, VCPU_EVENTS } from "./_abi.ts";
import { type Registers, checkedRegisters } from "./_vcpu_registers.ts";
import { Stage2Error } from "./errors.ts";
import { choiceOption, flagOption, integerOption, knownOptions } from "./range.ts";

/** Groups of events that a vCPU logs into {@link Engine.events}. */
export type VcpuEventGroup = (typeof GROUPS)[number];

/** In the order of the core's bits: each descriptor fetched; each update by hardware; what happens to TLB entries. */
const GROUPS = ["walks", "updates", "tlb"] as const;

/** A TLB: entries of each of its two arrays, those of both stages combined and those of stage 2, are `sets * ways`, at most 16,384. */
export interface TlbShape {
  /** A power of two, 1 to 4,096. */
  sets: number;
  /** 1, 2, 4 or 8. */
  ways: number;
}

/**
 * A CPU, and where the architecture leaves it a choice, what it does. The knobs change what software may meet, never what
 * it may rely on: software that is right is right with each.
 */
export interface VcpuOptions {
  /** Default 512 sets of 4 ways; false: every translation walks. */
  tlb?: TlbShape | false;
  /** Hardware manages dirty state at stage 2 (VTCR_EL2.HD): needs a table with `ha`. Default off. */
  hd?: boolean;
  /** ID_AA64MMFR1_EL1.HAFDBS: 0 none, 1 access flag, 2 and dirty state, 3 and of tables, 4 and HDBSS. Default 2. */
  hafdbs?: number;
  /** Execute permission of its own for EL0 and EL1 at stage 2 (FEAT_XNX). Default on. */
  xnx?: boolean;
  /** Reports what software does to live descriptors against the rules, as `tlb` events. Default off. */
  checker?: boolean;
  /**
   * Exclusives go by address: a store-exclusive fails after any store to the granule meanwhile, even one that brought the
   * old value back, if every agent's stores go through vCPUs in this mode. Default off: they compare values.
   */
  strictMonitor?: boolean;
  /** Events to log. Default none. */
  events?: readonly VcpuEventGroup[];
  /** Registers that are other than those the page table asks for. */
  registers?: Partial<Registers>;

  /** Low bits of a table base below its alignment. Default "zero". */
  tableBaseLowBits?: "zero" | "kept";
  /** SH = 01. Default "non". */
  reservedShareability?: "non" | "outer";
  /** An entry whose contiguous group disagrees: used alone, or a TLB conflict abort. Default "alone". */
  inconsistentContiguous?: "alone" | "conflict";
  /** WnR of a stage-2 fault on a stage-1 descriptor: of the access, or of the walk's own. Default "access". */
  s1ptwWrite?: "access" | "walk";
  /** HPFAR_EL2 of a stage-2 permission fault, which is UNKNOWN but for stage-1 descriptors. Default "correct". */
  hpfarOnPermission?: "correct" | "poison";
  /** Instruction fetches need read permission at stage 2. Default off. */
  execNeedsRead?: boolean;
  /** Reserved MemAttr values: Normal non-cacheable, or what their bits say (FWB: Device-nGnRnE; else the inner half is stage 1's). Default "nc". */
  reservedMemAttr?: "nc" | "bits";
  /** An access with a permission fault sets the access flag all the same. Default off. */
  afOnPermissionFault?: boolean;
  /** A compare-and-swap that does not match makes the page dirty. Default on. */
  failedCasDirty?: boolean;
  /** A store-exclusive that fails makes the page dirty. Default off. */
  failedStxrDirty?: boolean;
  /** Tables lie in memory with atomics; without, an update that hardware needs is a fault. Default on. */
  atomicUpdates?: boolean;
  /** Address translation instructions set access flags, and their write forms dirty state. Default off. */
  atUpdates?: boolean;
  /** A permission fault on a TLB entry drops it: the next try walks. Default on. */
  permissionFaultDropsEntry?: boolean;
  /** A plain store of this CPU to the granule it watches opens its own exclusive monitor. Default off. */
  ownStoreClearsMonitor?: boolean;
  /** Bytes that an exclusive reserves: a power of two, 16 to 2,048. Default 64. */
  exclusivesGranule?: number;
  /** One translation in so many also walks for an address nobody asked for, 2 to 2^31 - 1; 0 none. Default 0. */
  speculation?: number;
  /** One store-exclusive in so many fails for no reason, 2 to 2^31 - 1; 0 none. Default 0. */
  spuriousExclusiveFailures?: number;
  /** The same seed speculates and fails the same way. Default 1. */
  seed?: number;
}

/** Settings as the state page holds them. */
export interface Settings {
  readonly sets: number;
  readonly ways: number;
  readonly hd: boolean;
  readonly hafdbs: number;
  readonly xnx: boolean;
  readonly registers: Partial<Registers>;
  /** KNOB bits. */
  readonly knobs: number;
  /** VCPU_EVENTS bits. */
  readonly events: number;
  /** log2 of the exclusives granule. */
  readonly granuleShift: number;
  readonly spurious: number;
  readonly speculate: number;
  readonly seed: number;
}

/** Flags by name: the bit they set, and the value that sets it. */
const FLAGS = {
  checker: [KNOB.CHECKER, true],
  strictMonitor: [KNOB.STRICT_MONITOR, true],
  execNeedsRead: [KNOB.EXEC_NEEDS_R, true],
  afOnPermissionFault: [KNOB.AF_ON_PERMISSION, true],
  failedCasDirty: [KNOB.CAS_FAIL_CLEAN, false],
  failedStxrDirty: [KNOB.STXR_FAIL_DIRTY, true],
  atomicUpdates: [KNOB.NO_ATOMIC_UPDATE, false],
  atUpdates: [KNOB.AT_UPDATES, true],
  permissionFaultDropsEntry: [KNOB.KEEP_ON_FAULT, false],
  ownStoreClearsMonitor: [KNOB.OWN_STORE_CLEARS, true],
} as const;

/** Choices by name: the bit that the second one sets. */
const CHOICES = {
  tableBaseLowBits: [KNOB.BASE_KEPT, "zero", "kept"],
  reservedShareability: [KNOB.SH_OUTER, "non", "outer"],
  inconsistentContiguous: [KNOB.CONTIGUOUS_CONFLICT, "alone", "conflict"],
  s1ptwWrite: [KNOB.WNR_WALK, "access", "walk"],
  hpfarOnPermission: [KNOB.HPFAR_POISON, "correct", "poison"],
  reservedMemAttr: [KNOB.MEMATTR_BITS, "nc", "bits"],
} as const;

const NAMES = [
  ...Object.keys(FLAGS),
  ...Object.keys(CHOICES),
  "tlb",
  "hd",
  "hafdbs",
  "xnx",
  "events",
  "registers",
  "exclusivesGranule",
  "speculation",
  "spuriousExclusiveFailures",
  "seed",
];

const DEFAULT_TLB = { sets: 512, ways: 4 };
/** Entries of one array: the core keeps both in one MiB. */
const MOST_ENTRIES = 16_384;
const MOST = 2 ** 31 - 1;

/** Checks names and values. @throws Stage2Error `BAD_OPTION` */
export function checkedSettings(options: VcpuOptions): Settings {
  knownOptions("vcpu", options, NAMES);
  return {
    ...tlbShape(options.tlb ?? DEFAULT_TLB),
    hd: flagOption("hd", options.hd ?? false),
    hafdbs: integerOption("hafdbs", options.hafdbs ?? 2, 0, 4),
    xnx: flagOption("xnx", options.xnx ?? true),
    registers: checkedRegisters(options.registers ?? {}),
    knobs: knobBits(options),
    events: eventBits(options.events ?? []),
    granuleShift: Math.log2(
      powerOption("exclusivesGranule", options.exclusivesGranule ?? 64, 16, 2048),
    ),
    speculate: oneIn("speculation", options.speculation),
    spurious: oneIn("spuriousExclusiveFailures", options.spuriousExclusiveFailures),
    seed: integerOption("seed", options.seed ?? 1, 0, MOST),
  };
}

function tlbShape(shape: TlbShape | false): { sets: number; ways: number } {
  if (shape === false) return { sets: 0, ways: 0 };
  knownOptions("tlb", shape, ["sets", "ways"]);
  const sets = powerOption("tlb.sets", shape.sets, 1, 4096);
  const ways = powerOption("tlb.ways", shape.ways, 1, 8);
  if (sets * ways <= MOST_ENTRIES) return { sets, ways };
  throw new Stage2Error("BAD_OPTION", "a TLB has at most 16,384 entries", { sets, ways });
}

function powerOption(name: string, value: unknown, min: number, max: number): number {
  const power = integerOption(name, value, min, max);
  if ((power & (power - 1)) === 0) return power;
  throw new Stage2Error("BAD_OPTION", `${name} must be a power of two`, { [name]: value });
}

function oneIn(name: string, value: number | undefined): number {
  return value === undefined || value === 0 ? 0 : integerOption(name, value, 2, MOST);
}

function knobBits(options: VcpuOptions): number {
  let bits = 0;
  for (const [name, [bit, when]] of Object.entries(FLAGS)) {
    const value = options[name as keyof typeof FLAGS] ?? !when;
    if (flagOption(name, value) === when) bits |= bit;
  }
  for (const [name, [bit, usual, other]] of Object.entries(CHOICES)) {
    const value = options[name as keyof typeof CHOICES] ?? usual;
    if (choiceOption<string>(name, value, [usual, other]) === other) bits |= bit;
  }
  return bits;
}

/** VCPU_EVENTS bits of event groups. */
export function eventBits(groups: readonly VcpuEventGroup[]): number {
  if (!Array.isArray(groups)) {
    throw new Stage2Error("BAD_OPTION", "events must be an array of groups", { events: groups });
  }
  return groups.reduce((bits, group) => bits | BITS[choiceOption("events", group, GROUPS)], 0);
}

const BITS: Readonly<Record<VcpuEventGroup, number>> = {
  walks: VCPU_EVENTS.WALKS,
  updates: VCPU_EVENTS.UPDATES,
  tlb: VCPU_EVENTS.TLB,
};
