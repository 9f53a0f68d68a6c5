/** Pure facts about page tables: levels, roots, VTCR_EL2, descriptors. No engine is needed. */
import { KIND_HYP, KIND_STAGE2, OPTION } from "./_abi.ts";
import { type Granule, idRegisters, optionBit, pageShift, sizeBits } from "./_options.ts";
import { pureContext } from "./_pure.ts";
import { Decoder, type Entry, levelShift } from "./decode.ts";
import { descriptor } from "./entry.ts";
import { address, choiceOption, integerOption, knownOptions } from "./range.ts";

/** Shape of a stage-2 page table, and the CPU's features that its VTCR depends on. */
export interface VtcrOptions {
  /** Page size. Default 4K. */
  granule?: Granule;
  /** Input size, 32 to 52. Default 40. */
  ipaBits?: number;
  /** ID_AA64MMFR0_EL1.PARange. Default: the smallest that covers `ipaBits`. */
  parange?: number;
  /** VMID size. Default 16. */
  vmidBits?: 8 | 16;
  /** Hardware sets access flags. Default on. */
  ha?: boolean;
  /** 52-bit descriptors for 4K and 16K pages. Default off. */
  lpa2?: boolean;
  /** Built for 52-bit physical addresses. Default: as `lpa2`. */
  pa52?: boolean;
}

/** How a stage-2 page table is laid out. */
export interface Geometry {
  /** Levels that a walk goes through. */
  readonly levels: number;
  /** Level of the root. */
  readonly startLevel: number;
  /** Bytes of the root, and how many table pages they are: 1 to 16, contiguous. */
  readonly rootBytes: number;
  readonly rootPages: number;
  /** Entries in one table page. */
  readonly entriesPerTable: number;
  /** Bytes that an entry covers, by level, from the start level down to 3. */
  readonly entrySizes: Readonly<Record<number, number>>;
  /** Levels at which a leaf may be. */
  readonly leafLevels: readonly number[];
}

const VTCR_NAMES = ["granule", "ipaBits", "parange", "vmidBits", "ha", "lpa2", "pa52"];

/** VTCR_EL2 as KVM programs it (`kvm_get_vtcr`). */
export function vtcr(options: VtcrOptions = {}): bigint {
  computeVtcr(options);
  return pureContext().result(0);
}

/** The layout that KVM gives a stage-2 page table: levels, concatenated root, leaf sizes. */
export function geometry(options: VtcrOptions = {}): Geometry {
  const shift = computeVtcr(options);
  const context = pureContext();
  const rootBytes = context.resultNumber(1);
  const levels = context.resultNumber(2);
  const startLevel = context.resultLevel(3);
  const entrySizes: Record<number, number> = {};
  const leafLevels: number[] = [];
  for (let level = startLevel; level <= 3; level++) {
    context.core.pure_granule(shift, level);
    entrySizes[level] = 2 ** context.resultNumber(0);
    if (context.resultNumber(1) === 1) leafLevels.push(level);
  }
  return {
    levels,
    startLevel,
    rootBytes,
    rootPages: Math.max(1, rootBytes / 2 ** shift),
    entriesPerTable: 2 ** (shift - 3),
    entrySizes,
    leafLevels,
  };
}

/** Leaves the results of `pure_vtcr` in the pure context; log2 of the page size. */
function computeVtcr(options: VtcrOptions): number {
  knownOptions("vtcr", options, VTCR_NAMES);
  const shift = pageShift(options.granule);
  const ipaBits = integerOption("ipaBits", options.ipaBits ?? 40, 32, 52);
  const [mmfr0, mmfr1] = idRegisters(ipaBits, options);
  const bits = sizeBits(options) | (OPTION.NO_HA & ~optionBit(options, "ha", OPTION.NO_HA, true));
  const context = pureContext();
  context.setArgument(0, mmfr0);
  context.setArgument(1, mmfr1);
  context.core.pure_vtcr(shift, ipaBits, bits);
  return shift;
}

/** A host's stage 1, whose software walks tables from a level above the stage-2 root. */
export interface FakePgdOptions {
  granule?: Granule;
  /** Input size of the host's own stage 1. */
  vaBits: number;
  /** Input size of the guest's stage 2. Default 40. */
  ipaBits?: number;
}

/** The dummy upper table that software of that shape keeps; hardware never reads it. */
export interface FakePgd {
  /** Entries of the dummy table; 0 if the root itself is the top level. */
  readonly entries: number;
  /** Level of the dummy table: the top level of the host's stage 1. */
  readonly level: number;
  /** Bytes of input space that one of its entries covers. */
  readonly entrySize: number;
  /** What hardware walks: the concatenated root. */
  readonly startLevel: number;
  readonly rootPages: number;
}

/**
 * The dummy top level that early arm64 KVM kept where the host's tables are deeper than the guest's (`KVM_PREALLOC_LEVEL`,
 * `kvm_prealloc_hwpgd`, `stage2_get_pud`): its entries point at the concatenated tables of the root. Page tables here need
 * none and walk to the same leaf.
 */
export function fakePgd(options: FakePgdOptions): FakePgd {
  knownOptions("fakePgd", options, ["granule", "vaBits", "ipaBits"]);
  const shift = pageShift(options.granule);
  const vaBits = integerOption("vaBits", options.vaBits, shift + 1, 52);
  const ipaBits = integerOption("ipaBits", options.ipaBits ?? 40, 32, 48);
  const { startLevel, rootPages } = geometry({ granule: options.granule ?? "4K", ipaBits });
  const level = 4 - Math.ceil((vaBits - shift) / (shift - 3));
  const entrySize = 2 ** levelShift(shift, level);
  const entries = level < startLevel ? Math.max(1, 2 ** ipaBits / entrySize) : 0;
  return { entries, level, entrySize, startLevel, rootPages };
}

/** What a descriptor is decoded as. */
export interface DecodeOptions {
  /** Level of the entry, -1 to 3. */
  level: number;
  /** Whose table: a guest's stage 2 (default) or a hypervisor's stage 1. */
  regime?: "stage2" | "hyp";
  /** First input address of the entry. Default 0. */
  ipa?: number;
  granule?: Granule;
  lpa2?: boolean;
  pa52?: boolean;
  fwb?: boolean;
  /** Stage 1 with the EL2&0 layout of permissions. */
  hvhe?: boolean;
}

const TABLE_MARK = 3n;
const DECODE_NAMES = ["level", "regime", "ipa", "granule", "lpa2", "pa52", "fwb", "hvhe"];

/** Fields of a descriptor, as listings report them. A table's `references` are unknown: 0. */
export function decodeEntry(pte: bigint, options: DecodeOptions): Entry {
  knownOptions("decodeEntry", options, DECODE_NAMES);
  const level = integerOption("level", options.level, -1, 3);
  const regime = choiceOption("regime", options.regime ?? "stage2", ["stage2", "hyp"]);
  const bits =
    sizeBits(options) |
    optionBit(options, "fwb", OPTION.FWB) |
    optionBit(options, "hvhe", OPTION.HVHE);
  const decoder = new Decoder(pureContext(), {
    kind: regime === "stage2" ? KIND_STAGE2 : KIND_HYP,
    pageShift: pageShift(options.granule),
    bits,
  });
  const value = descriptor(pte);
  const isTable = level < 3 && (value & TABLE_MARK) === TABLE_MARK;
  return decoder.descriptor(address(options.ipa ?? 0, "ipa"), level, value, isTable);
}
