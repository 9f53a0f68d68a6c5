/**
 * Blocks, tables and pages under dirty logging: a block gives way to a table by the write that is logged (M-5.63), stays one
 * where nobody writes (M-8.1), and comes back by faults alone when logging is off (M-8.3, M-5.65).
 */
import { describe, expect, it } from "vitest";
import { Access, MemslotFlag } from "../../../src/index.ts";
import { machines } from "../harness/slot/machines.ts";
import { touch } from "../harness/slot/access.ts";
import { countsOf, difference } from "../harness/slot/counts.ts";
import {
  SIZES,
  SLOT,
  type Scene,
  type SceneOptions,
  codeOf,
  onScene,
} from "../harness/slot/scene.ts";
import { leafAt, shapeOf } from "../harness/slot/shape.ts";

const LOG = MemslotFlag.LOG_DIRTY_PAGES;
const MACHINES = machines({ ipaBits: [40], tlbs: ["no TLB", "large TLB"] });
const BLOCKS = 2;

/** A slot of two huge pages, each mapped by a block. */
function mapped(
  machine: (typeof MACHINES)[number][1],
  use: (scene: Scene, pages: number) => void,
  options: Partial<SceneOptions> = {},
): Promise<void> {
  const { pmd, page } = SIZES[machine.granule];
  return onScene({ machine, kind: "thp", size: BLOCKS * pmd, ...options }, (scene) => {
    for (const ipa of scene.addresses(pmd)) touch(scene.vcpus[0]!, ipa, Access.Write);
    expect(shapeOf(scene.vm.stage2)).toEqual({ "L2 rw-": BLOCKS });
    scene.tally.reset();
    use(scene, pmd / page);
  });
}

/** What faults and calls `action` takes. */
function during(scene: Scene, action: () => void) {
  scene.tally.reset();
  const before = countsOf(scene.vcpus);
  action();
  return difference(countsOf(scene.vcpus), before);
}

const dirtyPages = (scene: Scene) => [...scene.vm.getDirtyLog(SLOT)];

describe.each(MACHINES)("%s", (_name, machine) => {
  it("log on: protected and flushed once, no block split without a chunk (M-8.1)", () =>
    mapped(machine, (scene) => {
      scene.setSlot(LOG);
      const calls = scene.tally
        .ranges("wrprotect", "flushTlb", "split", "unmap")
        .map((c) => c.kind);
      expect(new Set(calls)).toEqual(new Set(["wrprotect", "flushTlb"]));
      expect(calls.filter((kind) => kind === "flushTlb")).toHaveLength(1);
      expect(calls.at(-1)).toBe("flushTlb");
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L2 r--": BLOCKS });
      expect(dirtyPages(scene)).toEqual([]);
    }));

  it("a write breaks the block: its page alone is mapped, one bit is set (M-5.63)", () =>
    mapped(machine, (scene, pages) => {
      scene.setSlot(LOG);
      const [cpu] = scene.vcpus as [(typeof scene.vcpus)[0]];
      const { pa } = leafAt(scene.vm.stage2, scene.ipa)!;
      const at = scene.ipa + 5 * scene.page;
      const taken = during(scene, () => void touch(cpu, at + 8, Access.Write));
      expect(taken).toMatchObject({
        permission: 1,
        translation: 0,
        maps: 1,
        relaxes: 0,
        dirtied: 1,
      });
      expect(scene.tally.breaks).toBe(1);
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L3 rw-": 1, "L2 r--": BLOCKS - 1 });
      expect(leafAt(scene.vm.stage2, at)).toMatchObject({
        pa: pa + 5 * scene.page,
        size: scene.page,
      });
      const next = during(scene, () => void touch(cpu, at + scene.page, Access.Read));
      expect(next).toMatchObject({ translation: 1, permission: 0, maps: 1, dirtied: 0 });
      expect(leafAt(scene.vm.stage2, at + scene.page)).toMatchObject({ name: "L3 r--" }); // M-5.61
      expect(dirtyPages(scene)).toEqual([5]);
      expect(pages).toBeGreaterThan(512 / 2);
    }));

  it("a read leaves the block", () =>
    mapped(machine, (scene) => {
      scene.setSlot(LOG);
      const taken = during(scene, () => {
        for (const ipa of scene.addresses(scene.pmd / 64)) touch(scene.vcpus[0]!, ipa, Access.Read);
      });
      expect(taken).toMatchObject({ translation: 0, permission: 0, maps: 0 });
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L2 r--": BLOCKS });
    }));

  it("a fetch: of a logged block a page, else the block itself becomes executable (M-5.64)", () =>
    mapped(machine, (scene) => {
      const [cpu] = scene.vcpus as [(typeof scene.vcpus)[0]];
      const first = during(scene, () => void touch(cpu, scene.ipa + 64, Access.Fetch));
      expect(first).toMatchObject({ permission: 1, relaxes: 1, maps: 0 });
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L2 rwx": 1, "L2 rw-": BLOCKS - 1 });
      scene.setSlot(LOG);
      const second = during(scene, () => void touch(cpu, scene.ipa + scene.pmd, Access.Fetch));
      expect(second).toMatchObject({ permission: 1, maps: 1, relaxes: 0, dirtied: 0 });
      expect(scene.tally.breaks).toBe(1);
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L2 r-x": 1, "L3 r-x": 1 });
    }));

  it("get (auto): protects what it tells, splits nothing (M-8.10, M-8.43)", () =>
    mapped(machine, (scene) => {
      scene.setSlot(LOG);
      for (const page of [3, 7])
        touch(scene.vcpus[0]!, scene.ipa + page * scene.page, Access.Write);
      scene.tally.reset();
      expect(dirtyPages(scene)).toEqual([3, 7]);
      const range = { ipa: scene.ipa + 3 * scene.page, size: 5 * scene.page };
      expect(scene.tally.ranges("wrprotect")).toEqual([{ kind: "wrprotect", ...range }]);
      expect(scene.tally.ranges("flushTlb")).toEqual([{ kind: "flushTlb", ...scene.slotRange }]);
      expect(scene.tally.ranges("split")).toEqual([]);
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L3 r--": 2, "L2 r--": BLOCKS - 1 });
    }));

  it("initially set: nothing is done at log on; a clear protects what it clears (M-8.2, M-8.27)", () =>
    mapped(
      machine,
      (scene, pages) => {
        scene.setSlot(LOG);
        expect(scene.tally.ranges("wrprotect", "flushTlb", "split")).toEqual([]);
        expect(scene.vm.getDirtyLog(SLOT).count).toBe(BLOCKS * pages);
        const free = during(scene, () => void touch(scene.vcpus[0]!, scene.ipa + 64, Access.Write));
        expect(free).toMatchObject({ translation: 0, permission: 0 });
        expect(shapeOf(scene.vm.stage2)).toEqual({ "L2 rw-": BLOCKS });
        const bitmap = BigUint64Array.of(0b110n);
        scene.vm.clearDirtyLog(SLOT, { firstPage: 0, pages: 64, bitmap });
        expect(shapeOf(scene.vm.stage2)).toEqual({ "L2 r--": 1, "L2 rw-": BLOCKS - 1 });
        const { ipa, page } = scene;
        expect(scene.tally.ranges("wrprotect")).toEqual([
          { kind: "wrprotect", ipa: ipa + page, size: 2 * page },
        ]);
      },
      { prepare: (vm) => vm.manualDirtyLogProtect({ initiallySet: true }) },
    ));

  it("initially set, with a chunk: the clear splits as well (M-8.27)", () =>
    mapped(
      machine,
      (scene, pages) => {
        scene.setSlot(LOG);
        const bitmap = BigUint64Array.of(0b110n);
        scene.vm.clearDirtyLog(SLOT, { firstPage: 0, pages: 64, bitmap });
        expect(scene.tally.ranges("split")).toEqual([
          { kind: "split", ipa: scene.ipa + scene.page, size: 2 * scene.page },
        ]);
        const full = { "L3 r--": pages, "L2 rw-": BLOCKS - 1 };
        expect(shapeOf(scene.vm.stage2), "a full table (M-8.42)").toEqual(full);
      },
      {
        prepare(vm) {
          vm.eagerSplitChunk = SIZES[machine.granule].pmd;
          vm.manualDirtyLogProtect({ initiallySet: true });
        },
      },
    ));

  it("log off changes no entry; blocks come back by faults alone (M-8.3, M-5.65)", () =>
    mapped(machine, (scene, pages) => {
      const { vm, ipa, page, pmd } = scene;
      const [cpu] = scene.vcpus as [(typeof scene.vcpus)[0]];
      scene.setSlot(LOG);
      for (const block of [ipa, ipa + pmd]) {
        touch(cpu, block, Access.Write);
        touch(cpu, block + page, Access.Read);
      }
      const before = [...vm.stage2.leaves()];
      scene.tally.reset();
      scene.setSlot(0);
      expect([...vm.stage2.leaves()]).toEqual(before);
      expect(codeOf(() => vm.getDirtyLog(SLOT))).toBe("ENOENT");

      const hits = during(scene, () => {
        touch(cpu, ipa, Access.Write);
        touch(cpu, ipa + page, Access.Read);
      });
      expect(hits, "what is mapped with these rights stays").toMatchObject({ maps: 0, relaxes: 0 });
      const byWrite = during(scene, () => void touch(cpu, ipa + page, Access.Write));
      expect(byWrite).toMatchObject({ permission: 1, translation: 0, maps: 1, blocks: 1 });
      const byRead = during(scene, () => void touch(cpu, ipa + pmd + 2 * page, Access.Read));
      expect(byRead).toMatchObject({ permission: 0, translation: 1, maps: 1, blocks: 1 });
      expect(shapeOf(vm.stage2)).toEqual({ "L2 rw-": BLOCKS });
      expect(vm.stage2.memoryUsage().tablePages, "the tables are gone").toBe(
        vm.stage2.counters().tables + vm.stage2.rootBytes / page,
      );
      expect(pages).toBe(pmd / page);
    }));

  it("a fetch brings the block back as well (M-5.65)", () =>
    mapped(machine, (scene) => {
      const [cpu] = scene.vcpus as [(typeof scene.vcpus)[0]];
      scene.setSlot(LOG);
      touch(cpu, scene.ipa, Access.Write);
      scene.setSlot(0);
      const taken = during(scene, () => void touch(cpu, scene.ipa, Access.Fetch));
      expect(taken).toMatchObject({ permission: 1, maps: 1, blocks: 1, relaxes: 0 });
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L2 rwx": 1, "L2 r--": BLOCKS - 1 });
    }));

  it("rounds: table and block follow each other, and no page is lost", () =>
    mapped(machine, (scene) => {
      const { vm, ipa, page } = scene;
      const [cpu] = scene.vcpus as [(typeof scene.vcpus)[0]];
      const tables = vm.stage2.memoryUsage().tablePages;
      const { pa } = leafAt(vm.stage2, ipa)!;
      for (let round = 0; round < 20; round++) {
        scene.setSlot(LOG);
        const at = ipa + round * page;
        expect(touch(cpu, at, Access.Write)).toBe(pa + round * page);
        expect(dirtyPages(scene)).toEqual([round]);
        scene.setSlot(0);
        expect(touch(cpu, at, Access.Write)).toBe(pa + round * page);
        expect(shapeOf(vm.stage2)).toEqual({ "L2 rw-": 1, "L2 r--": BLOCKS - 1 });
        expect(vm.stage2.memoryUsage().tablePages).toBe(tables);
      }
    }));
});
