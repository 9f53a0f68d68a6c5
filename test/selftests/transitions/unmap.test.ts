/**
 * Parts taken out of blocks and tables: an unmap takes every leaf that it meets, whole; what comes back is as large as the
 * host's own leaf is by then. Holes, transparent huge pages that are split or put together.
 */
import { describe, expect, it } from "vitest";
import { Access } from "../../../src/index.ts";
import { machines } from "../harness/slot/machines.ts";
import { touch } from "../harness/slot/access.ts";
import { SIZES, type Scene, type SceneOptions, onScene } from "../harness/slot/scene.ts";
import { leafAt, shapeOf } from "../harness/slot/shape.ts";

const MACHINES = machines({ ipaBits: [40], ha: [true], tlbs: ["no TLB", "large TLB"] });
const BLOCKS = 3;

/** A slot of three blocks of the host's, all touched. */
function touched(
  machine: (typeof MACHINES)[number][1],
  kind: SceneOptions["kind"],
  use: (scene: Scene, pages: number) => void,
): Promise<void> {
  const { pmd, page } = SIZES[machine.granule];
  const size = kind === "anonymous" ? pmd : BLOCKS * pmd;
  const huge = kind === "hugetlb" ? { pageSize: pmd } : {};
  return onScene({ machine, kind, size, vcpus: 2, ...huge }, (scene) => {
    const step = kind === "anonymous" ? page : pmd;
    for (const ipa of scene.addresses(step)) {
      for (const vcpu of scene.vcpus) touch(vcpu, ipa, Access.Write);
    }
    scene.tally.reset();
    use(scene, pmd / page);
  });
}

describe.each(MACHINES)("%s", (_name, machine) => {
  it("one page of a block invalidated: the block is gone, and comes back whole", () =>
    touched(machine, "thp", ({ vm, hva, ipa, page, pmd, vcpus, tally }) => {
      const at = pmd + 7 * page;
      vm.invalidate({ hva: hva + at, size: page }, () => {
        expect(shapeOf(vm.stage2)).toEqual({ "L2 rw-": BLOCKS - 1 });
        expect(leafAt(vm.stage2, ipa + pmd)).toBeUndefined();
      });
      expect(tally.ranges("unmap")).toEqual([{ kind: "unmap", ipa: ipa + at, size: page }]);
      for (const vcpu of vcpus) touch(vcpu, ipa + pmd, Access.Read);
      expect(shapeOf(vm.stage2)).toEqual({ "L2 rw-": BLOCKS });
    }));

  it("a range across two blocks and a byte more takes all that it meets (M-7.6)", () =>
    touched(machine, "thp", ({ vm, hva, ipa, page, pmd, tally }) => {
      vm.invalidate({ hva: hva + pmd - page + 1, size: page }, () => {});
      const range = { ipa: ipa + pmd - page, size: 2 * page };
      expect(tally.ranges("unmap").at(0)).toMatchObject({ ipa: range.ipa });
      expect(tally.ranges("unmap").reduce((sum, { size }) => sum + size, 0)).toBe(range.size);
      expect(shapeOf(vm.stage2)).toEqual({ "L2 rw-": BLOCKS - 2 });
    }));

  it("a hole in a transparent huge page: its neighbours come back as pages", () =>
    touched(machine, "thp", ({ vm, hva, ipa, page, pmd, vcpus: [cpu], ram }) => {
      const old = leafAt(vm.stage2, ipa)!;
      ram.punch({ hva: hva + 9 * page, size: page });
      expect(leafAt(vm.stage2, ipa)).toBeUndefined();
      expect(touch(cpu!, ipa, Access.Read)).toBe(old.pa);
      expect(touch(cpu!, ipa + 9 * page, Access.Write)).not.toBe(old.pa + 9 * page);
      expect(shapeOf(vm.stage2)).toEqual({ "L3 rw-": 2, "L2 rw-": BLOCKS - 1 });
      expect(leafAt(vm.stage2, ipa + pmd)).toMatchObject({ name: "L2 rw-" });
    }));

  it("a transparent huge page split by the host, and put together again", () =>
    touched(machine, "thp", (scene) => {
      const { vm, hva, ipa, page, pmd, vcpus, ram } = scene;
      const [cpu, other] = vcpus as [(typeof vcpus)[0], (typeof vcpus)[0]];
      const old = leafAt(vm.stage2, ipa)!;
      ram.splitHuge({ hva, size: pmd });
      expect(leafAt(vm.stage2, ipa), "by the notifier").toBeUndefined();
      for (const at of [0, 1, 2]) {
        expect(touch(cpu, ipa + at * page, Access.Write), "the same memory").toBe(
          old.pa + at * page,
        );
      }
      expect(shapeOf(vm.stage2)).toEqual({ "L3 rw-": 3, "L2 rw-": BLOCKS - 1 });
      ram.collapse({ hva, size: pmd });
      expect(shapeOf(vm.stage2)).toEqual({ "L2 rw-": BLOCKS - 1 });
      const pa = touch(other, ipa + page, Access.Read);
      expect(touch(cpu, ipa, Access.Write)).toBe(pa - page);
      expect(shapeOf(vm.stage2)).toEqual({ "L2 rw-": BLOCKS });
      scene.expectOrder();
    }));

  it("a hugetlb page: a hole of its size", () =>
    touched(machine, "hugetlb", ({ vm, hva, ipa, pmd, vcpus: [cpu], ram }) => {
      const old = leafAt(vm.stage2, ipa + pmd)!;
      ram.punch({ hva: hva + pmd, size: pmd });
      expect(shapeOf(vm.stage2)).toEqual({ "L2 rw-": BLOCKS - 1 });
      touch(cpu!, ipa + 2 * pmd - 8, Access.Write);
      expect(leafAt(vm.stage2, ipa + pmd)).toMatchObject({ name: "L2 rw-", size: old.size });
    }));

  it("pages out of a table: the others stay; the last one takes the table along", () =>
    touched(machine, "anonymous", ({ vm, hva, ipa, page, pmd, ram, size, vcpus }, pages) => {
      const { tablePages } = vm.stage2.memoryUsage();
      ram.punch({ hva: hva + page, size: 3 * page });
      expect(shapeOf(vm.stage2)).toEqual({ "L3 rw-": pages - 3 });
      for (const vcpu of vcpus) {
        expect(typeof vcpu.cpu.translate(ipa, Access.Write)).toBe("number");
        expect(vcpu.cpu.translate(ipa + page, Access.Write)).toMatchObject({ type: "translation" });
      }
      ram.punch({ hva, size: page });
      ram.punch({ hva: hva + 4 * page, size: size - 4 * page });
      expect(vm.stage2.counters().leafCount).toBe(0);
      expect(vm.stage2.memoryUsage().tablePages).toBeLessThan(tablePages);
      expect(size).toBe(pmd);
    }));

  it("the slot deleted: nothing is left of its blocks and tables", () =>
    touched(machine, "thp", ({ vm, ipa, hva, size, page, pmd, ram, vcpus: [cpu], tally }) => {
      ram.splitHuge({ hva, size: pmd });
      for (let n = 0; n < 10; n++) touch(cpu!, ipa + n * page, Access.Write);
      tally.reset();
      expect(vm.setMemslot({ slot: 3, ipa, size: 0, hva })).toBe("delete");
      expect(tally.ranges("unmap").reduce((sum, call) => sum + call.size, 0)).toBe(size);
      expect(vm.stage2.counters()).toMatchObject({ leafCount: 0, tables: 0 });
    }));
});
