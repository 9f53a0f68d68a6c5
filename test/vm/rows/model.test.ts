/** Random histories of a VM against a model of sets: memslots that overlap in backing, faults, notifiers, dirty logs. */
import { describe, expect, it } from "vitest";
import { Prot, Stage2Error, type Vm, type VmVcpu } from "../../../src/index.ts";
import { MODES, lab } from "../../support.ts";
import { Model, PAGE, type Slot } from "./model.ts";
import { Guest, HVA, abort } from "./support.ts";

/** Pages of the IPA space and of the backing that histories use: few, so that everything meets everything. */
const IPA_PAGES = 1024;
const HVA_PAGES = 512;
const IDS = 24;
const STEPS = 1000;

/** The same sequence for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed * 0x9e37_79b9 + 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

class History {
  readonly model = new Model();
  readonly vm: Vm;
  readonly vcpu: VmVcpu;
  readonly pick: (below: number) => number;
  /** What changes of slots came to. */
  readonly outcomes = new Set<string>();

  constructor({ vm, vcpu }: Guest, seed: number) {
    this.vm = vm;
    this.vcpu = vcpu;
    this.pick = random(seed);
  }

  step(): void {
    const kind = this.pick(20);
    if (kind < 3) this.changeSlot();
    else if (kind < 15) this.access();
    else if (kind < 17) this.notify();
    else this.log();
  }

  changeSlot(): void {
    const { pick, model } = this;
    const slot = pick(IDS);
    const old = model.slots.get(slot);
    const fresh: Slot = {
      ...{ slot, ipa: pick(IPA_PAGES) * PAGE, size: (1 + pick(96)) * PAGE },
      ...{ hva: HVA + pick(HVA_PAGES) * PAGE, flags: [0, 1, 1, 2, 3][pick(5)]! },
    };
    const variants: Slot[] = [{ ...fresh, size: 0 }];
    if (old === undefined) variants.push(fresh, fresh, fresh);
    else variants.push({ ...old, ipa: fresh.ipa }, { ...old, flags: old.flags ^ 1 }, old, fresh);
    const region = variants[pick(variants.length)]!;
    const expected = model.setMemslot(region);
    expect(outcome(() => this.vm.setMemslot(region))).toBe(expected);
    this.outcomes.add(expected);
  }

  access(): void {
    const { pick, model, vcpu } = this;
    const slots = [...model.slots.values()];
    const slot = slots.length === 0 || pick(8) === 0 ? undefined : slots[pick(slots.length)];
    const base = slot ?? { ipa: 0, size: IPA_PAGES * PAGE };
    const ipa = base.ipa + pick(base.size / PAGE) * PAGE;
    const write = pick(2) === 0;
    const mapped = model.pages.has(ipa);
    const kind = model.access(ipa, write);
    if (kind === "none") return;
    const fsc = kind === "permission" || (kind === "mmio" && mapped) ? 0x0f : 0x07;
    const { reason } = vcpu.handleAbort(abort({ ipa, write, fsc, access: { size: 4 } }));
    expect(reason).toBe(kind === "mmio" ? "mmio" : "resume");
  }

  notify(): void {
    const { pick, model, vm } = this;
    const range = { hva: HVA + pick(HVA_PAGES * PAGE), size: 1 + pick(40 * PAGE) };
    if (pick(2) === 0) {
      vm.invalidate(range, () => undefined);
      model.invalidate(range.hva, range.size);
    } else expect(vm.clearYoung(range)).toBe(model.clearYoung(range.hva, range.size));
  }

  log(): void {
    const { pick, model, vm } = this;
    const slot = pick(IDS);
    const found = model.slots.get(slot);
    if (pick(2) === 0 || found === undefined || !model.logs.has(slot)) {
      const log = outcome(() => [...vm.getDirtyLog(slot)]);
      expect(log).toEqual(model.getDirtyLog(slot) ?? "ENOENT");
      return;
    }
    const pages = found.size / PAGE;
    const mask = Array.from({ length: pages }, (_, page) => page).filter(() => pick(3) === 0);
    const bitmap = new BigUint64Array(Math.ceil(pages / 64));
    for (const page of mask) bitmap[page >> 6]! |= 1n << BigInt(page & 63);
    const cleared = vm.clearDirtyLog(slot, { firstPage: 0, pages, bitmap });
    expect(cleared).toBe(model.clearDirtyLog(slot, mask));
  }

  compare(): void {
    const { model, vm } = this;
    const slots = [...model.slots.values()].sort((a, b) => a.ipa - b.ipa);
    expect(vm.memslots()).toMatchObject(slots);
    const pages = [...model.pages].sort(([a], [b]) => a - b);
    const seen = [...vm.stage2.leaves()].map(({ ipa, prot, accessed }) => [
      ipa,
      { writable: (prot & Prot.W) !== 0, young: accessed },
    ]);
    expect(seen).toEqual(pages);
    for (let i = 0; i < 16; i++) {
      const ipa = this.pick(IPA_PAGES * PAGE);
      expect(vm.memslotOf(ipa)?.slot).toBe(model.slotOf(ipa)?.slot);
    }
  }
}

function outcome<T>(action: () => T): T | string {
  try {
    return action();
  } catch (error) {
    if (error instanceof Stage2Error) return error.code;
    throw error;
  }
}

describe.each(MODES)("random histories of a VM (%s)", (mode) => {
  const here = lab(mode);

  it.each([1, 2, 3, 4, 5, 6])(
    "M-3.8 to M-3.15, M-3.26, M-7.6, M-8.10, M-8.27: as the model says, seed %i",
    (seed) => {
      const history = new History(new Guest(here, { size: 0, ipaBits: 32 }), seed);
      for (let step = 0; step < STEPS; step++) {
        history.step();
        if (step % 50 === 49) history.compare();
      }
      expect(history.model.slots.size).toBeGreaterThan(3);
      const all = ["EEXIST", "EINVAL", "create", "delete", "flags", "move", "none"];
      expect([...history.outcomes].sort()).toEqual(all);
    },
  );
});
