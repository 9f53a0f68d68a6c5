/**
 * Follows invalidations to their end (Arm ARM D8.14). A CPU may walk and fill its TLB at any time, so the steps count only in
 * this order, each by the same agent:
 *
 *   store ── DSB ── TLBI by IPA ── DSB ISH ── TLBI VMALLE1 ── DSB ISH ── clean
 *                └─ TLBI VMALLS12E1, ALLE1, (stage 1 of a hypervisor) VAE2 ──┘
 *
 * Without the first DSB a walk may still read the old entry after the TLBI; without the second, or with VMALLE1 first, a
 * combined entry may be made anew of the stage-2 entry that is about to go.
 */
import type { Pending } from "./_pending.ts";
import { type Interval, type Residue, sameTree } from "./_residue.ts";
import type { Tree } from "./_shadow.ts";
import type { Invalidation, Step } from "./_steps.ts";
import type { Agent } from "./rules.ts";

/** A residue, and what of it an invalidation covers. */
interface Hit {
  readonly residue: Residue;
  readonly covered: Interval;
}

/** How far one agent is. */
class Progress {
  /** Number of the event of its last DSB. */
  stored = -1;
  /** Barriers that it logged in events of their own. */
  barriers = 0;
  /** Invalidated by IPA, and no DSB ISH since. */
  byAddress: Hit[] = [];
  /** Gone from stage-2 TLBs. */
  uncombined: Hit[] = [];
  /** Invalidated in full, and no DSB ISH since. */
  completing: Hit[] = [];
}

export class Cleaner {
  readonly #pending: Pending;
  readonly #agents = new Map<Agent, Progress>();

  constructor(pending: Pending) {
    this.#pending = pending;
  }

  /** Barriers that the agent logged so far. */
  barriers(agent: Agent): number {
    return this.#of(agent).barriers;
  }

  /** A barrier that is an event of its own, not part of a flush. */
  countBarrier(agent: Agent): void {
    this.#of(agent).barriers++;
  }

  /** An agent executes one instruction, which is about one page table (undefined: nobody knows which). Event number `at`. */
  step(step: Step, agent: Agent, tree: Tree | undefined, at: number): void {
    const progress = this.#of(agent);
    if (step.kind === "dsb") {
      progress.stored = at;
      if (step.complete) this.#complete(progress, agent, at);
    } else if (step.kind === "tlbi") {
      this.#invalidate(step, progress, tree);
    }
  }

  forget(): void {
    this.#agents.clear();
  }

  #invalidate(step: Invalidation, progress: Progress, tree: Tree | undefined): void {
    if (step.scope === "combined") {
      const concerned = ({ residue }: Hit): boolean => sameTree(residue.tree, tree);
      progress.completing.push(...progress.uncombined.filter(concerned));
      progress.uncombined = progress.uncombined.filter((hit) => !concerned(hit));
      return;
    }
    const queue = step.scope === "stage2" ? progress.byAddress : progress.completing;
    for (const residue of this.#pending.over([step.from, step.to])) {
      if (residue.at > progress.stored) continue; // a walk may still read the old entry after this
      if (step.scope !== "all" && !sameTree(residue.tree, tree)) continue;
      if (!regimeFits(step, residue)) continue;
      const covered = residue.coveredBy(step);
      if (covered === undefined) continue;
      residue.started = true;
      queue.push({ residue, covered });
    }
  }

  #complete(progress: Progress, by: Agent, at: number): void {
    for (const { residue, covered } of progress.completing) {
      if (residue.cleaned !== undefined || !residue.clean(covered)) continue;
      residue.cleaned = { by, at };
      this.#pending.delete(residue);
    }
    progress.completing = [];
    const open = [...progress.uncombined, ...progress.byAddress];
    progress.uncombined = open.filter(({ residue }) => residue.cleaned === undefined);
    progress.byAddress = [];
  }

  #of(agent: Agent): Progress {
    let progress = this.#agents.get(agent);
    if (progress === undefined) this.#agents.set(agent, (progress = new Progress()));
    return progress;
  }
}

function regimeFits({ scope }: Invalidation, { tree }: Residue): boolean {
  return tree === undefined || scope === "all" || (scope === "hyp") === tree.format.hyp;
}
