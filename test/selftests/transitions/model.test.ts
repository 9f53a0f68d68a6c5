/**
 * A guest and its host at random: accesses, logging, holes, huge pages split, shared and put together. After every step stage 2
 * is compared with a model that knows the rules and no page tables.
 */
import { describe, expect, it } from "vitest";
import { Chance } from "../../../src/explorer/random.ts";
import { Access, MemslotFlag, Prot } from "../../../src/index.ts";
import { type Configuration, configuration } from "../harness/configurations.ts";
import { machineOf } from "../harness/slot/machines.ts";
import { touch } from "../harness/slot/access.ts";
import { countsOf, difference } from "../harness/slot/counts.ts";
import { SIZES, SLOT, type Scene, onScene } from "../harness/slot/scene.ts";
import { Model } from "./model.ts";

const BLOCKS = 3;
const STEPS = 240;

class Run {
  readonly #scene: Scene;
  readonly #model: Model;
  readonly #chance: Chance;
  readonly #eager: boolean;
  /** Pages that the host has invalidated since they were last looked at. */
  #invalidated: [first: number, end: number][] = [];

  constructor(scene: Scene, seed: number, eager: boolean) {
    this.#scene = scene;
    this.#model = new Model(BLOCKS, scene.pmd / scene.page);
    this.#chance = new Chance(seed);
    this.#eager = eager;
    const { hva, page } = scene;
    scene.ram.addVm({
      invalidateStart: (range) => {
        const first = (range.hva - hva) / page;
        this.#invalidated.push([first, first + range.size / page]);
      },
      invalidateEnd: () => {},
    });
  }

  step(): string {
    const roll = this.#chance.below(100);
    if (roll < 45) return this.#access(Access.Write);
    if (roll < 65) return this.#access(Access.Read);
    if (roll < 72) return this.#access(Access.Fetch);
    if (roll < 80) return this.#toggle();
    if (roll < 85) return this.#collect();
    return this.#host(roll);
  }

  /** Stage 2 is as the model says. */
  check(what: string): void {
    const { ipa, page, vm } = this.#scene;
    const found = [...vm.stage2.leaves()].map(
      ({ ipa: at, size, prot }) =>
        `${(at - ipa) / page}+${size / page} ${(prot & Prot.W) === 0 ? "-" : "w"}${(prot & Prot.X) === 0 ? "-" : "x"}`,
    );
    const expected = [...this.#model.leaves()].map(
      ([first, pages, { w, x }]) => `${first}+${pages} ${w ? "w" : "-"}${x ? "x" : "-"}`,
    );
    const at = found.findIndex((leaf, n) => leaf !== expected[n]);
    if (at < 0 && found.length === expected.length) return;
    const place = at < 0 ? Math.min(found.length, expected.length) : at;
    expect.fail(`after ${what}: leaf ${place} is ${found[place]}, must be ${expected[place]}`);
  }

  #access(access: number): string {
    const { ipa, page, hva, pmd, ram, vcpus } = this.#scene;
    // Few pages, so that they meet again; some at the ends of blocks.
    const each = pmd / page;
    const inside = this.#chance.below(4) === 0 ? each - 1 : this.#chance.below(12);
    const number = this.#chance.below(BLOCKS) * each + inside;
    const before = countsOf(vcpus);
    touch(vcpus[0]!, ipa + number * page, access);
    const { translation, permission } = difference(countsOf(vcpus), before);
    const { writable, size } = ram.state(hva + number * page);
    const wanted = { page: number, write: access === Access.Write, exec: access === Access.Fetch };
    const faults = { translation: 0, permission: 0 };
    for (let kind = this.#model.fault(wanted); kind !== "none"; kind = this.#model.fault(wanted)) {
      faults[kind]++;
      const overtaken = this.#invalidated.length > 0; // by the copy that this very fault made (M-5.74)
      if (overtaken) this.#unmapInvalidated();
      else this.#model.handled(wanted, kind, { writable, block: size === pmd });
    }
    expect({ translation, permission }).toEqual(faults);
    return `access ${access} to page ${number}`;
  }

  #toggle(): string {
    const on = !this.#model.logging;
    this.#scene.setSlot(on ? MemslotFlag.LOG_DIRTY_PAGES : 0);
    if (on) this.#model.logOn(this.#eager);
    else this.#model.logOff();
    return on ? "log on" : "log off";
  }

  #collect(): string {
    if (!this.#model.logging) return "nothing";
    expect([...this.#scene.vm.getDirtyLog(SLOT)]).toEqual(this.#model.takeLog());
    return "get";
  }

  /** The host changes its memory, or says that it might. */
  #host(roll: number): string {
    const { ram, vm, hva, page, pmd } = this.#scene;
    const block = hva + this.#chance.below(BLOCKS) * pmd;
    const range = {
      hva: block + this.#chance.below(12) * page,
      size: (1 + this.#chance.below(3)) * page,
    };
    const what =
      roll < 88
        ? "punch"
        : roll < 91
          ? "split"
          : roll < 95
            ? "collapse"
            : roll < 97
              ? "share"
              : "invalidate";
    if (what === "punch")
      ram.punch(this.#chance.below(3) === 0 ? { hva: block, size: pmd } : range);
    if (what === "split") ram.splitHuge({ hva: block, size: pmd });
    if (what === "collapse") ram.collapse({ hva, size: BLOCKS * pmd });
    if (what === "share") ram.share(range);
    if (what === "invalidate") {
      vm.invalidate(range, () => {});
      const first = (range.hva - hva) / page;
      this.#invalidated.push([first, first + range.size / page]);
    }
    this.#unmapInvalidated();
    return what;
  }

  #unmapInvalidated(): void {
    for (const [first, end] of this.#invalidated.splice(0)) this.#model.unmap(first, end);
  }
}

describe.each([
  ["4K", machineOf("4K"), STEPS],
  ["4K, TLB of 8", configuration("4K", 48, true, "TLB of 8"), STEPS],
  ["4K, no hardware flags", configuration("4K", 36, false, "no TLB"), STEPS],
  ["16K", machineOf("16K"), STEPS / 4],
] as const)("transitions at random, %s", (_name, machine: Configuration, steps) => {
  it.each([
    [1, false],
    [2, false],
    [3, true],
    [4, true],
  ])("seed %i, eager split %s", (seed, eager) => {
    const { pmd } = SIZES[machine.granule];
    const prepare = (vm: { eagerSplitChunk: number }) => void (eager && (vm.eagerSplitChunk = pmd));
    const options = { machine, kind: "thp", size: BLOCKS * pmd, memory: 8 * pmd, prepare } as const;
    return onScene(options, (scene) => {
      const run = new Run(scene, seed, eager);
      for (let n = 0; n < steps; n++) run.check(`${run.step()} (step ${n})`);
    });
  });
});
