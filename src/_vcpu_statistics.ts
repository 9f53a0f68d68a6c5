/** What a vCPU counted. */
import { COUNTER, COUNTERS, STATE } from "./_abi.ts";
import type { VcpuCore } from "./_vcpu_core.ts";

/** Numbers by level of the table. */
export type ByLevel = Readonly<Record<-1 | 0 | 1 | 2 | 3, number>>;

/** Numbers by stage. */
export interface ByStage {
  readonly stage1: number;
  readonly stage2: number;
}

/** Counts since the vCPU was made, or since {@link Vcpu.resetStatistics}. Probes count nothing. */
export interface VcpuStatistics {
  /** Descriptors that walks fetched, by the level of the table they are in. Stage 2 includes those for stage-1 tables. */
  readonly descriptorReads: { readonly stage1: ByLevel; readonly stage2: ByLevel };
  /** Descriptors whose access flag hardware set. */
  readonly accessFlagUpdates: ByStage;
  /** Descriptors that hardware made writable. */
  readonly dirtyUpdates: ByStage;
  readonly tlb: {
    readonly hits: number;
    readonly misses: number;
    /** Hits on entries that memory no longer agreed with; counted in checker mode only. */
    readonly stale: number;
    readonly conflicts: number;
    /** Stage-2 translations that an entry of stage 2 alone answered. */
    readonly stage2Hits: number;
    /** Walks that began at a remembered table of the last level. */
    readonly walkCacheHits: number;
    /** Permission faults that an entry decided and memory would not have. */
    readonly spuriousFaults: number;
    /** Times that invalidations by others were applied. */
    readonly invalidations: number;
  };
  /** Walks that started again: a descriptor changed between its fetch and its update. */
  readonly restarts: number;
  readonly faults: number;
  /** Entries written into the dirty-state tracking structure. */
  readonly hdbssEntries: number;
  /** Walks that no program asked for. */
  readonly speculativeWalks: number;
}

const FIRST = STATE.COUNTERS / 8;

export function readStatistics({ registers }: VcpuCore): VcpuStatistics {
  const count = (counter: number) => Number(registers[FIRST + counter]);
  const levels = (first: number): Record<-1 | 0 | 1 | 2 | 3, number> => ({
    [-1]: count(first),
    0: count(first + 1),
    1: count(first + 2),
    2: count(first + 3),
    3: count(first + 4),
  });
  // The short walks are counted whole, by their length: one from level 1 to 3 fetches at all three.
  const stage2 = levels(COUNTER.READS_STAGE2);
  for (let length = 0; length < 3; length++) {
    const walks = count(COUNTER.QUICK + length);
    stage2[1] += walks;
    if (length > 0) stage2[2] += walks;
    if (length > 1) stage2[3] += walks;
  }
  return {
    descriptorReads: { stage1: levels(COUNTER.READS_STAGE1), stage2 },
    accessFlagUpdates: { stage1: count(COUNTER.AF_STAGE1), stage2: count(COUNTER.AF_STAGE2) },
    dirtyUpdates: { stage1: count(COUNTER.DIRTY_STAGE1), stage2: count(COUNTER.DIRTY_STAGE2) },
    tlb: {
      hits: count(COUNTER.TLB_HITS),
      misses: count(COUNTER.TLB_MISSES),
      stale: count(COUNTER.TLB_STALE),
      conflicts: count(COUNTER.TLB_CONFLICTS),
      stage2Hits: count(COUNTER.STAGE2_TLB_HITS),
      walkCacheHits: count(COUNTER.WALK_CACHE_HITS),
      spuriousFaults: count(COUNTER.SPURIOUS_FAULTS),
      invalidations: count(COUNTER.TLBI_APPLIED),
    },
    restarts: count(COUNTER.RESTARTS),
    faults: count(COUNTER.FAULTS),
    hdbssEntries: count(COUNTER.HDBSS_ENTRIES),
    speculativeWalks: count(COUNTER.SPECULATIVE),
  };
}

export function resetStatistics({ registers }: VcpuCore): void {
  registers.fill(0n, FIRST, FIRST + COUNTERS);
}
