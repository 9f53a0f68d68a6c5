/** What a pKVM machine is made with: generations as presets of named options, memory, tables. */
import { OPTION } from "../_abi.ts";
import {
  type EventGroup,
  type Granule,
  eventMask,
  idRegisters,
  optionBit,
  pageShift,
} from "../_options.ts";
import { Stage2Error } from "../errors.ts";
import {
  type Address,
  address,
  choiceOption,
  fields,
  flagOption,
  integerOption,
  knownOptions,
} from "../range.ts";
import { PKVM_OPTION } from "./_abi.ts";
import {
  type CheckedRegion,
  type MemoryRegion,
  type PhysicalSpan,
  checkedRegions,
  checkedSpan,
} from "./memory.ts";

/**
 * Which kernel the machine follows, as a preset of {@link PkvmFeatures}. `seed`: the first EL1 MMU for pKVM (2024): pages, each in a tree
 * with a lock of its own. `default`: Linux 6.17: ranges with blocks, states of both sides checked. `newest`: with protected guests.
 */
export type Generation = "seed" | "default" | "newest";

/** What tells the generations apart. Each can be set over its preset. */
export interface PkvmFeatures {
  /** Mappings under a lock of their own, faults under the read side of the mmu_lock. Seed: on. */
  mappingsLock: boolean;
  /** Blocks may be shared with guests, and are kept as one mapping. Seed: off. */
  blocks: boolean;
  /** The end of a range that is no multiple of a page is rounded down, not up. Seed: on. */
  gfnRounding: boolean;
  /** `map` answers "again" where the hypervisor refused a page (EPERM). Seed: on. */
  epermIsAgain: boolean;
  /** A hypercall that fails counts as young. Seed: on. */
  errorIsYoung: boolean;
  /** A page that is shared with the hypervisor is mapped there at once, not when it is first pinned. Seed: on. */
  mapSharedHyp: boolean;
  /** What the host has shared with the hypervisor can be taken back as if the secure world had it. Off in all: a hole of real kernels. */
  ffaUnchecked: boolean;
  /** Guests whose memory the host gives up: donation, sharing back, taking back by force. Newest: on. */
  protectedGuests: boolean;
  /** An abort of the host on what is not its own is injected into it; else it is the end of the host. Newest: on. */
  injectHostAborts: boolean;
}

/** A pKVM machine: physical memory, a host that the hypervisor does not trust, the hypervisor. */
export interface PkvmOptions extends Partial<PkvmFeatures> {
  /** Physical memory, up to 32 regions, page aligned, that overlap neither each other nor the addresses of the engine's table pages:
   * from {@link EngineOptions.tablePhysicalBase} (default 1 GiB) on. All else below 2^paBits are devices. */
  memory: readonly MemoryRegion[];
  /** Default: "default". */
  generation?: Generation;
  /** Size of physical addresses (PARange), 32 to 48; to 52 with `lpa2`, or 64K pages. The host's and every guest's IPA size. Default 40. */
  paBits?: number;
  /** Page size. Default 4K. */
  granule?: Granule;
  /**
   * Memory of one region that the host's kernel takes pages for the hypervisor from: VM structures, page tables. Default: the top
   * eighth of the largest region, at least 64 pages if it has them. `null`: none, every page comes by raw hypercalls.
   */
  hostPages?: PhysicalSpan | null;
  /** VA of the hypervisor = PA - this, a multiple of a page. Default 0. */
  hypVaOffset?: Address;
  /** Groups of events that the tables of host and hypervisor log. Default none. */
  events?: readonly EventGroup[];
  /** The CPU has stage-2 forced write-back: guests use it, the host's table does not. Default off. */
  fwb?: boolean;
  /** 52-bit descriptors for 4K and 16K pages (LPA2). Default off. */
  lpa2?: boolean;
  /** Built for 52-bit physical addresses (matters to 64K pages). Default: as `lpa2`, or with `paBits` above 48. */
  pa52?: boolean;
  /** The CPU has TLB invalidation by range. Default off. */
  tlbiRange?: boolean;
  /** Hardware sets access flags. Default on. */
  ha?: boolean;
  /** Tables clean the data cache for what is mapped and unmapped. Default on. */
  dcache?: boolean;
  /** Tables invalidate the instruction cache for what becomes executable. Default on. */
  icache?: boolean;
}

/** Core bits of features that are named for what they switch on; `blocks` is the inverse. */
const BITS = {
  mappingsLock: PKVM_OPTION.MAPPINGS_LOCK,
  gfnRounding: PKVM_OPTION.GFN_ROUNDING,
  epermIsAgain: PKVM_OPTION.EPERM_IS_AGAIN,
  errorIsYoung: PKVM_OPTION.ERROR_IS_YOUNG,
  mapSharedHyp: PKVM_OPTION.MAP_SHARED_HYP,
  ffaUnchecked: PKVM_OPTION.FFA_UNCHECKED,
  protectedGuests: PKVM_OPTION.PROTECTED_GUESTS,
  injectHostAborts: PKVM_OPTION.INJECT_HOST_ABORTS,
} as const satisfies Record<Exclude<keyof PkvmFeatures, "blocks">, number>;

const NOTHING: PkvmFeatures = {
  mappingsLock: false,
  blocks: true,
  gfnRounding: false,
  epermIsAgain: false,
  errorIsYoung: false,
  mapSharedHyp: false,
  ffaUnchecked: false,
  protectedGuests: false,
  injectHostAborts: false,
};

/** The features of each generation. */
export const GENERATIONS: Readonly<Record<Generation, Readonly<PkvmFeatures>>> = {
  seed: {
    ...NOTHING,
    mappingsLock: true,
    blocks: false,
    gfnRounding: true,
    epermIsAgain: true,
    errorIsYoung: true,
    mapSharedHyp: true,
  },
  default: NOTHING,
  newest: { ...NOTHING, protectedGuests: true, injectHostAborts: true },
};

const CPU_ON = { fwb: OPTION.FWB, lpa2: OPTION.LPA2, tlbiRange: OPTION.TLBI_RANGE } as const;
const CPU_OFF = { ha: OPTION.NO_HA, dcache: OPTION.NO_DCACHE, icache: OPTION.NO_ICACHE } as const;
/** What a guest's table takes over from the machine. */
export const CPU_BITS =
  OPTION.FWB |
  OPTION.LPA2 |
  OPTION.PA52 |
  OPTION.TLBI_RANGE |
  OPTION.NO_HA |
  OPTION.NO_DCACHE |
  OPTION.NO_ICACHE;

const NAMES = [
  ...Object.keys(NOTHING),
  ...Object.keys(CPU_ON),
  ...Object.keys(CPU_OFF),
  "memory",
  "generation",
  "paBits",
  "granule",
  "hostPages",
  "hypVaOffset",
  "events",
  "pa52",
];

/** Options as `pkvm_create`, `pkvm_add_region` and `pkvm_init` take them. */
export interface PkvmSettings {
  readonly pageShift: 12 | 14 | 16;
  readonly paBits: number;
  /** PKVM_OPTION bits. */
  readonly options: number;
  readonly regions: readonly CheckedRegion[];
  readonly hostPages: { readonly pa: number; readonly size: number };
  readonly hypVaOffset: number;
  /** OPTION bits of the tables, and their event mask. */
  readonly table: number;
  readonly events: number;
  /** ID registers that the VTCR is computed from. */
  readonly registers: readonly [mmfr0: bigint, mmfr1: bigint];
}

/** Checks names and values. @throws Stage2Error `BAD_OPTION`, `BAD_ADDRESS`, `BAD_SIZE` */
export function checkedPkvmOptions(options: PkvmOptions): PkvmSettings {
  knownOptions("pkvm", fields(options), NAMES);
  const shift = pageShift(options.granule);
  const long = flagOption("lpa2", options.lpa2 ?? false) || shift === 16;
  const paBits = integerOption("paBits", options.paBits ?? 40, 32, long ? 52 : 48);
  const regions = checkedRegions(options.memory, shift, paBits);
  return {
    pageShift: shift,
    paBits,
    options: featureBits(options),
    regions,
    hostPages: hostPages(options.hostPages, regions, shift),
    hypVaOffset: offset(options.hypVaOffset ?? 0, shift),
    table: cpuBits(options, paBits),
    events: eventMask(options.events ?? []),
    registers: idRegisters(paBits, { ha: options.ha ?? true }),
  };
}

/** The features that the core's bits stand for. */
export function featuresOf(bits: number): PkvmFeatures {
  const features = { ...NOTHING, blocks: (bits & PKVM_OPTION.PAGES) === 0 };
  for (const [name, bit] of Object.entries(BITS)) {
    features[name as keyof PkvmFeatures] = (bits & bit) !== 0;
  }
  return features;
}

function featureBits(options: PkvmOptions): number {
  const names = Object.keys(GENERATIONS) as Generation[];
  const preset = GENERATIONS[choiceOption("generation", options.generation ?? "default", names)];
  const isOn = (name: keyof PkvmFeatures): boolean =>
    flagOption(name, options[name] ?? preset[name]);
  return Object.entries(BITS).reduce(
    (bits, [name, bit]) => (isOn(name as keyof PkvmFeatures) ? bits | bit : bits),
    isOn("blocks") ? 0 : PKVM_OPTION.PAGES,
  );
}

function cpuBits(options: PkvmOptions, paBits: number): number {
  const { lpa2 = false } = options;
  let bits = optionBit(options, "pa52", OPTION.PA52, lpa2 || paBits > 48);
  for (const [name, bit] of Object.entries(CPU_ON)) bits |= optionBit(options, name, bit);
  for (const [name, bit] of Object.entries(CPU_OFF)) {
    bits |= bit & ~optionBit(options, name, bit, true);
  }
  return bits;
}

/** Fewer pages than this are worth no eighth. */
const FEW_PAGES = 64;

function hostPages(
  given: PhysicalSpan | null | undefined,
  regions: readonly CheckedRegion[],
  shift: number,
): { pa: number; size: number } {
  if (given === null) return { pa: 0, size: 0 };
  if (given !== undefined) {
    knownOptions("hostPages", fields(given), ["pa", "size"]);
    return checkedSpan("hostPages", given, shift);
  }
  const usable = regions.filter(({ noMap }) => !noMap);
  const [largest] = [...usable].sort((a, b) => b.size - a.size);
  if (largest === undefined) return { pa: 0, size: 0 };
  const eighth = Math.max(Math.floor(largest.size / 2 ** shift / 8), FEW_PAGES) * 2 ** shift;
  const size = Math.min(largest.size, eighth);
  return { pa: largest.pa + largest.size - size, size };
}

function offset(value: Address, shift: number): number {
  const bytes = address(value, "hypVaOffset");
  if (bytes % 2 ** shift === 0) return bytes;
  throw new Stage2Error("BAD_OPTION", "hypVaOffset must be a multiple of a page", {
    hypVaOffset: value,
  });
}
