/** Small machines for random hypercalls: memory with a hole and with pages that are nobody's, by generation. */
import { PKVM_OPTION } from "../../src/pkvm/_abi.ts";

/** A stretch of physical memory. */
export interface Stretch {
  readonly pa: number;
  readonly size: number;
  /** Nobody may have it. */
  readonly noMap?: boolean;
}

export interface World {
  readonly generation: Generation;
  readonly pageShift: number;
  /** Size of the physical address space, and of every guest's. */
  readonly paBits: number;
  /** PKVM_OPTION bits. */
  readonly options: number;
  readonly regions: readonly Stretch[];
  /** What the host's kernel hands pages to the hypervisor out of. */
  readonly hostPages: Stretch;
  /** VA of the hypervisor = PA - this. */
  readonly hypOffset: number;
}

export const GENERATIONS = ["seed", "default", "newest"] as const;
export type Generation = (typeof GENERATIONS)[number];

const { MAPPINGS_LOCK, PAGES, GFN_ROUNDING, EPERM_IS_AGAIN, ERROR_IS_YOUNG } = PKVM_OPTION;
const { MAP_SHARED_HYP, PROTECTED_GUESTS, INJECT_HOST_ABORTS } = PKVM_OPTION;

/** What the hypervisor of a generation does in its own way. */
export const GENERATION_OPTIONS: Readonly<Record<Generation, number>> = {
  seed: MAPPINGS_LOCK | PAGES | GFN_ROUNDING | EPERM_IS_AGAIN | ERROR_IS_YOUNG | MAP_SHARED_HYP,
  default: 0,
  newest: PROTECTED_GUESTS | INJECT_HOST_ABORTS,
};

const BASE = 0x8000_0000;
const MIB = 2 ** 20;

/**
 *     0x8000_0000  4 MiB  memory
 *                  2 MiB  hole
 *     0x8060_0000  4 MiB  memory; its last 64 pages are the host's to hand out
 *     0x80a0_0000 64 KiB  nobody's
 */
export function smallWorld(generation: Generation): World {
  return {
    generation,
    pageShift: 12,
    paBits: 40,
    options: GENERATION_OPTIONS[generation],
    regions: [
      { pa: BASE, size: 4 * MIB },
      { pa: BASE + 6 * MIB, size: 4 * MIB },
      { pa: BASE + 10 * MIB, size: MIB / 16, noMap: true },
    ],
    hostPages: { pa: BASE + 10 * MIB - MIB / 4, size: MIB / 4 },
    hypOffset: 2 ** 30,
  };
}
