/** What a stage-2 page table is made with. */
import { OPTION } from "./_abi.ts";
import { TABLE_OPTIONS, type TableOptions, optionBit, tableBits } from "./_options.ts";
import { Stage2Error } from "./errors.ts";
import { knownOptions } from "./range.ts";
import type { ForcePages } from "./requests.ts";

/** Properties of the machine and of the software that a stage-2 page table is made for. */
export interface Stage2Options extends TableOptions {
  /** Input size, 32 to 52 bits; above 48 needs `lpa2`, or 64K pages with `pa52`. Default 40. */
  ipaBits?: number;
  /** Output size code of the CPU (ID_AA64MMFR0_EL1.PARange, 0 to 6). Default: the smallest that covers `ipaBits`. */
  parange?: number;
  /** VMID size: 8 or 16. Default 16. */
  vmidBits?: 8 | 16;
  /** Stage-2 forced write-back (FEAT_S2FWB). Default off. */
  fwb?: boolean;
  /** Do without FWB although the CPU has it (`KVM_PGTABLE_S2_NOFWB`). Default off. */
  noFwb?: boolean;
  /** Only `ipa == pa` may be mapped (`KVM_PGTABLE_S2_IDMAP`). Default off. */
  idmap?: boolean;
  /** Hardware sets access flags (VTCR_EL2.HA). Default on. */
  ha?: boolean;
  /** Never map blocks. Default off. */
  pagesOnly?: boolean;
  /** Clean the data cache for what is mapped and unmapped: there is a callback for it. Default on. */
  dcache?: boolean;
  /** Invalidate the instruction cache for what becomes executable. Default on. */
  icache?: boolean;
  /** A late map of the same page over an aged leaf with fewer rights is "again", not a downgrade. Default off. */
  keepPermissions?: boolean;
  /**
   * Load and store without compare-exchange, as cores without an atomic helper do. Loses access flags that hardware
   * sets meanwhile; exists to show just that. Default off.
   */
  nonAtomic?: boolean;
  /**
   * `map` leaves the tables it detaches to the caller: see {@link Stage2.adoptUnlinked}. Needs the `tables` events: a
   * table whose detaching could not be told is freed at once. Default off.
   */
  keepUnlinked?: boolean;
  /**
   * Operations take the table's mmu_lock by themselves, as KVM's callers do: `map` with SHARED, `relaxPerms` and `mkyoung` its
   * read side, everything else that changes the table its write side; lookups and listings take none. A lock that the thread
   * holds already, on a side that suffices, is not taken again. Off: {@link Stage2.mmuLock} is the caller's duty. Until an
   * engine is shared ({@link Engine.handle}) there is nobody to lock out, and none is taken. Default off.
   */
  locking?: boolean;
  /**
   * `testClearYoung` takes no lock: it ages entries by compare-exchange beside everything else (lockless aging, which newer
   * kernels have for other architectures). Needs `locking`. Default off.
   */
  locklessAging?: boolean;
  /** Answers for each map whether it must use pages. Default: never. */
  forcePages?: ForcePages;
}

/** Option bits that are on by name, or off by name. */
const ON = {
  fwb: OPTION.FWB,
  noFwb: OPTION.NOFWB,
  idmap: OPTION.IDMAP,
  pagesOnly: OPTION.PAGES_ONLY,
  keepPermissions: OPTION.KEEP_PERMISSIONS,
  nonAtomic: OPTION.NON_ATOMIC,
  keepUnlinked: OPTION.KEEP_UNLINKED,
  locking: OPTION.LOCKING,
  locklessAging: OPTION.LOCKLESS_AGING,
} as const;
const OFF = { ha: OPTION.NO_HA, dcache: OPTION.NO_DCACHE, icache: OPTION.NO_ICACHE } as const;

/** Options that the guest's machine or its hypervisor decide, not its VM: names that a VM takes over as they are. */
export const VM_TABLE_OPTIONS = [
  "granule",
  "lpa2",
  "pa52",
  "tlbiRange",
  "events",
  "parange",
  "vmidBits",
  "fwb",
  "noFwb",
  "ha",
  "pagesOnly",
  "dcache",
  "icache",
  "nonAtomic",
  "locklessAging",
] as const satisfies readonly (keyof Stage2Options)[];

const NAMES = [
  ...TABLE_OPTIONS,
  ...Object.keys(ON),
  ...Object.keys(OFF),
  "ipaBits",
  "parange",
  "vmidBits",
  "forcePages",
];

/** The core's bits for the options, which are checked: names, and values that are on or off. */
export function stage2Bits(options: Stage2Options): number {
  knownOptions("stage2", options, NAMES);
  const { forcePages } = options;
  if (forcePages !== undefined && typeof forcePages !== "function") {
    throw new Stage2Error("BAD_OPTION", "forcePages must be a function", { forcePages });
  }
  if (options.locklessAging === true && options.locking !== true) {
    throw new Stage2Error("BAD_OPTION", "locklessAging needs locking", { locklessAging: true });
  }
  let bits = tableBits(options);
  for (const [name, bit] of Object.entries(ON)) bits |= optionBit(options, name, bit);
  for (const [name, bit] of Object.entries(OFF)) bits |= bit & ~optionBit(options, name, bit, true);
  return bits;
}
