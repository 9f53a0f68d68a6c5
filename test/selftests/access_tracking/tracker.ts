/**
 * Guests of access_tracking_perf_test: they touch pages, and it is known of every access whether its translation was cached,
 * as the vCPU counts the descriptors that it fetches. What must be young afterwards follows exactly.
 */
import { expect } from "vitest";
import type { VmVcpu } from "../../../src/index.ts";
import { touch } from "../harness/slot/access.ts";
import { countsOf } from "../harness/slot/counts.ts";
import type { Scene } from "../harness/slot/scene.ts";

/** What a pass over pages was like. */
export interface Pass {
  /** Leaves that some access walked to: their translation was cached nowhere that it looked. */
  readonly walked: ReadonlySet<number>;
  readonly touched: ReadonlySet<number>;
  /** Access flags that hardware set; faults that had software set one; other faults. */
  readonly updates: number;
  readonly accessFlagFaults: number;
  readonly otherFaults: number;
}

/** Pages, by number. */
export interface Share {
  readonly vcpu: VmVcpu;
  readonly first: number;
  readonly end: number;
}

export class Tracker {
  readonly scene: Scene;
  /** Bytes of a leaf. */
  readonly unit: number;

  constructor(scene: Scene, unit = scene.page) {
    this.scene = scene;
    this.unit = unit;
  }

  get units(): number {
    return this.scene.size / this.unit;
  }

  /** Parts of the slot: one of each vCPU, each reaching `overlap` leaves into the next. */
  shares(overlap = 0): Share[] {
    const { vcpus } = this.scene;
    const each = this.units / vcpus.length;
    return vcpus.map((vcpu, n) => ({
      vcpu,
      first: Math.floor(n * each),
      end: Math.min(this.units, Math.floor((n + 1) * each) + overlap),
    }));
  }

  /** Every vCPU touches its share, one access of each after the other. */
  pass(shares: readonly Share[], access: number): Pass {
    const [walked, touched] = [new Set<number>(), new Set<number>()];
    const before = this.#counts();
    const longest = Math.max(...shares.map(({ first, end }) => end - first));
    for (let n = 0; n < longest; n++) {
      for (const { vcpu, first, end } of shares) {
        if (first + n >= end) continue;
        touched.add(first + n);
        if (this.#touch(vcpu, first + n, access)) walked.add(first + n);
      }
      if (n % 1024 === 0) this.scene.tally.drain();
    }
    const after = this.#counts();
    return {
      walked,
      touched,
      updates: after.updates - before.updates,
      accessFlagFaults: after.accessFlagFaults - before.accessFlagFaults,
      otherFaults: after.otherFaults - before.otherFaults,
    };
  }

  /** Asks of leaf after leaf whether it was used; the numbers of those that were. */
  young(ask: (range: { hva: number; size: number }) => boolean): Set<number> {
    const found = new Set<number>();
    for (let n = 0; n < this.units; n++) {
      if (ask({ hva: this.scene.hva + n * this.unit, size: this.unit })) found.add(n);
    }
    return found;
  }

  /** Leaves whose access flag is set. */
  flagged(): Set<number> {
    const found = new Set<number>();
    for (const { ipa, accessed } of this.scene.vm.stage2.leaves()) {
      if (accessed) found.add((ipa - this.scene.ipa) / this.unit);
    }
    return found;
  }

  /** Whether the access had to walk. */
  #touch(vcpu: VmVcpu, unit: number, access: number): boolean {
    const before = fetches(vcpu);
    touch(vcpu, this.scene.ipa + unit * this.unit, access);
    return fetches(vcpu) > before;
  }

  #counts() {
    const { vcpus } = this.scene;
    const { translation, permission, accessFlag } = countsOf(vcpus);
    const updates = vcpus.reduce((n, { cpu }) => n + cpu.statistics.accessFlagUpdates.stage2, 0);
    return { updates, accessFlagFaults: accessFlag, otherFaults: translation + permission };
  }
}

/** Descriptors of stage 2 that the vCPU has fetched. */
function fetches({ cpu }: VmVcpu): number {
  return Object.values<number>(cpu.statistics.descriptorReads.stage2).reduce(
    (sum, n) => sum + n,
    0,
  );
}

export const everything = (count: number): Set<number> =>
  new Set(Array.from({ length: count }, (_, n) => n));

/** Sets of numbers, compared by what they lack and what they have beyond. */
export function expectSame(found: ReadonlySet<number>, expected: ReadonlySet<number>): void {
  const missing = [...expected].filter((n) => !found.has(n));
  const extra = [...found].filter((n) => !expected.has(n));
  expect({ missing, extra }).toEqual({ missing: [], extra: [] });
}
