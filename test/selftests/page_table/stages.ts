/**
 * The stages of kvm_page_table_test: CREATE, log on, UPDATE, log off, ADJUST. Each is run by all vCPUs on the same range; even
 * ones write, odd ones read. After each the whole stage 2 is compared with what it must be.
 */
import { expect } from "vitest";
import { Access, MemslotFlag, type VmVcpu } from "../../../src/index.ts";
import { pass, roleOf, touch } from "../harness/slot/access.ts";
import { type Counts, countsOf, difference } from "../harness/slot/counts.ts";
import { SLOT, type Scene, codeOf } from "../harness/slot/scene.ts";
import { type Shape, shapeOf } from "../harness/slot/shape.ts";
import type { Program } from "../harness/slot/turns.ts";
import type { Backing } from "./backings.ts";

/** Runs the programs of all vCPUs beside each other. */
export type Runner = (programs: Iterable<Program>) => void;

export class Stages {
  readonly scene: Scene;
  readonly backing: Backing;
  readonly #run: Runner;
  /** Pages read in the second half of each block in UPDATE, evenly spread. */
  readonly #halfReads: number;
  #before: Counts;

  constructor(scene: Scene, backing: Backing, run: Runner, mostReads = 4096) {
    this.scene = scene;
    this.backing = backing;
    this.#run = run;
    this.#halfReads = Math.min(backing.leaf / scene.page / 2, mostReads);
    this.#before = countsOf(scene.vcpus);
  }

  /** Leaves of the backing's size. */
  get leaves(): number {
    return this.backing.size / this.backing.leaf;
  }

  get huge(): boolean {
    return this.backing.level < 3;
  }

  /** Touches the first bytes of every page of the backing. What was counted meanwhile. */
  create(): Counts {
    const { leaf } = this.backing;
    return this.#stage((vcpu) => pass(vcpu, this.scene.addresses(leaf), roleOf(vcpu)));
  }

  logOn(): Counts {
    this.scene.tally.reset();
    expect(this.scene.setSlot(MemslotFlag.LOG_DIRTY_PAGES)).toBe("flags");
    return this.#counted();
  }

  logOff(): Counts {
    this.scene.tally.reset();
    const before = [...this.scene.vm.stage2.ranges()];
    expect(this.scene.setSlot(0)).toBe("flags");
    expect([...this.scene.vm.stage2.ranges()], "the entries").toEqual(before);
    expect(codeOf(() => this.scene.vm.getDirtyLog(SLOT))).toBe("ENOENT");
    return this.#counted();
  }

  /** Anonymous: all write every page. Huge: the first page of each is written, then its second half read. */
  update(): Counts {
    const { scene } = this;
    if (this.huge) return this.#stage((vcpu) => this.#updateHuge(vcpu));
    return this.#stage((vcpu) => pass(vcpu, scene.addresses(scene.page), Access.Write));
  }

  /** Reads every page, or enough of them: those that {@link update} left out, and those that it did not. */
  adjust(): Counts {
    const { scene, backing } = this;
    const step = Math.max(scene.page, backing.leaf / 512);
    return this.#stage((vcpu) => pass(vcpu, scene.addresses(step), Access.Read));
  }

  /** Writes a page of each huge page that {@link update} has not written. */
  writeSecondPages(): Counts {
    const { scene, backing } = this;
    return this.#stage((vcpu) =>
      pass(vcpu, scene.addresses(backing.leaf, scene.page), Access.Write),
    );
  }

  /** Stage 2 holds these leaves and no others, and has the table pages that they need. */
  expectShape(expected: Shape): void {
    const { stage2 } = this.scene.vm;
    expect(shapeOf(stage2)).toEqual(expected);
    const roots = stage2.rootBytes / this.scene.page;
    expect(stage2.counters()).toMatchObject({ invalid: 0 });
    expect(stage2.memoryUsage().tablePages, "table pages").toBe(stage2.counters().tables + roots);
  }

  /** Pages of the second halves that were read. */
  get readPages(): number {
    return this.leaves * this.#halfReads;
  }

  /** The log holds exactly the first page of each leaf. */
  expectLog(): void {
    const each = this.backing.leaf / this.scene.page;
    const { count, pages, ...log } = this.scene.vm.getDirtyLog(SLOT);
    expect(pages).toBe(this.scene.pages);
    expect(count).toBe(this.leaves);
    for (let n = 0; n < this.leaves; n++) {
      const bit = n * each;
      const word = log.bits[Math.floor(bit / 64)] as bigint;
      if (((word >> BigInt(bit % 64)) & 1n) === 0n) expect.fail(`page ${bit} is not in the log`);
    }
  }

  *#updateHuge(vcpu: VmVcpu): Program {
    const { scene, backing } = this;
    const half = backing.leaf / 2;
    for (const start of scene.addresses(backing.leaf)) {
      touch(vcpu, start, Access.Write);
      yield;
      for (let n = 0; n < this.#halfReads; n++) {
        touch(vcpu, start + half + n * (half / this.#halfReads), Access.Read);
        if (n % 16 === 0) yield;
      }
    }
  }

  #stage(program: (vcpu: VmVcpu) => Program): Counts {
    this.scene.tally.reset();
    this.#run(this.scene.vcpus.map(program));
    this.scene.expectOrder();
    return this.#counted();
  }

  #counted(): Counts {
    const now = countsOf(this.scene.vcpus);
    const counts = difference(now, this.#before);
    this.#before = now;
    return counts;
  }
}
