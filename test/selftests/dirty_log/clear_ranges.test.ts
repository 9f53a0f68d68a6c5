/** DL8: clearing parts of a log, by their place and by their bits, and what is refused (M-8.20 to M-8.28). */
import { describe, expect, it } from "vitest";
import { Access, MemslotFlag } from "../../../src/index.ts";
import { machineOf } from "../harness/slot/machines.ts";
import { touch } from "../harness/slot/access.ts";
import { SLOT, type Scene, codeOf, onScene } from "../harness/slot/scene.ts";
import { shapeOf } from "../harness/slot/shape.ts";

const LOG = MemslotFlag.LOG_DIRTY_PAGES;
/** Two words and a part of one. */
const PAGES = 2 * 64 + 13;
const ALL = ~0n;

const MACHINES = (["4K", "16K", "64K"] as const).map(
  (granule) => [granule, machineOf(granule)] as const,
);

describe.each(MACHINES)("clearing parts of the log, %s pages", (_granule, machine) => {
  const size = PAGES * machine.page;

  /** A slot whose pages have all been written, under manual protection. */
  function logged(use: (scene: Scene) => void, initiallySet = false): Promise<void> {
    return onScene(
      {
        ...{ machine, kind: "anonymous", size, flags: LOG },
        prepare: (vm) => vm.manualDirtyLogProtect({ initiallySet }),
      },
      (scene) => {
        for (const ipa of scene.addresses(machine.page)) touch(scene.vcpus[0]!, ipa, Access.Write);
        scene.tally.reset();
        use(scene);
      },
    );
  }

  const dirty = (scene: Scene) => [...scene.vm.getDirtyLog(SLOT)];
  const clear = ({ vm }: Scene, firstPage: number, pages: number, ...words: bigint[]) =>
    vm.clearDirtyLog(SLOT, { firstPage, pages, bitmap: BigUint64Array.from(words) });
  const range = (scene: Scene, kind: string, first: number, count: number) => ({
    ...{ kind, ipa: scene.ipa + first * scene.page, size: count * scene.page },
  });
  const from = (first: number) => Array.from({ length: PAGES - first }, (_, n) => first + n);

  it.each([false, true])("looking changes nothing; initially set: %s (M-8.11)", (initiallySet) =>
    logged((scene) => {
      expect([dirty(scene), dirty(scene)]).toEqual([from(0), from(0)]);
      expect(scene.tally.ranges("wrprotect", "flushTlb", "split")).toEqual([]);
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L3 rw-": PAGES });
    }, initiallySet),
  );

  it("(0, 64), then (64, rest)", () =>
    logged((scene) => {
      clear(scene, 0, 64, ALL);
      expect(dirty(scene)).toEqual(from(64));
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L3 r--": 64, "L3 rw-": PAGES - 64 });
      clear(scene, 64, PAGES - 64, ALL, ALL);
      expect(dirty(scene)).toEqual([]);
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L3 r--": PAGES });
    }));

  it("the last word, which is a part of one", () =>
    logged((scene) => {
      clear(scene, 128, PAGES - 128, ALL);
      expect(dirty(scene)).toEqual(from(0).slice(0, 128));
      expect(scene.tally.ranges("wrprotect", "flushTlb")).toEqual([
        range(scene, "wrprotect", 128, PAGES - 128),
        range(scene, "flushTlb", 0, PAGES),
      ]);
    }));

  it("bit by bit: protected is from the first to the last bit of a word, cleared is what is set", () =>
    logged((scene) => {
      clear(scene, 0, 128, (1n << 3n) | (1n << 9n), 1n << 63n);
      expect(dirty(scene)).toEqual(from(0).filter((page) => ![3, 9, 127].includes(page)));
      expect(scene.tally.ranges("wrprotect", "flushTlb")).toEqual([
        range(scene, "wrprotect", 3, 7),
        range(scene, "wrprotect", 127, 1),
        range(scene, "flushTlb", 0, PAGES),
      ]);
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L3 r--": 8, "L3 rw-": PAGES - 8 });
    }));

  it("clean pages: nothing is protected, nothing flushed (M-8.28)", () =>
    logged((scene) => {
      clear(scene, 0, PAGES, ALL, ALL, ALL);
      scene.tally.reset();
      clear(scene, 0, PAGES, ALL, ALL, ALL);
      clear(scene, 0, 64, 0n);
      clear(scene, 0, 0);
      clear(scene, 128, 0);
      expect(scene.tally.ranges("wrprotect", "flushTlb", "split")).toEqual([]);
    }));

  it("what is written afterwards is told again, once", () =>
    logged((scene) => {
      clear(scene, 0, PAGES, ALL, ALL, ALL);
      for (const page of [5, 64, 140, 5]) {
        touch(scene.vcpus[0]!, scene.ipa + page * scene.page, Access.Write);
      }
      expect(dirty(scene)).toEqual([5, 64, 140]);
      expect(scene.vcpus[0]!.statistics.dirtied).toBe(PAGES + 3);
    }));

  it("is refused without effect (M-8.21 to M-8.25)", () =>
    logged((scene) => {
      const { vm } = scene;
      const bitmap = BigUint64Array.of(ALL, ALL, ALL);
      const refused = (slot: number, firstPage: number, pages: number) =>
        codeOf(() => vm.clearDirtyLog(slot, { firstPage, pages, bitmap }));
      expect(refused(32_767, 0, 64), "no such slot id (M-8.21)").toBe("EINVAL");
      expect(refused(SLOT, 1, 64), "first page (M-8.22)").toBe("EINVAL");
      expect(refused(SLOT, 65, PAGES - 65)).toBe("EINVAL");
      expect(refused(SLOT + 1, 0, 64), "no slot (M-8.23)").toBe("ENOENT");
      expect(refused(SLOT, 192, 0), "first page behind the slot (M-8.24)").toBe("EINVAL");
      expect(refused(SLOT, 128, 64), "more than there are (M-8.24)").toBe("EINVAL");
      expect(refused(SLOT, 0, 63), "no whole words (M-8.25)").toBe("EINVAL");
      expect(refused(SLOT, 64, 13)).toBe("EINVAL");
      expect(dirty(scene)).toEqual(from(0));
      expect(shapeOf(vm.stage2)).toEqual({ "L3 rw-": PAGES });
      scene.setSlot(0);
      expect(refused(SLOT, 0, 64), "not logged (M-8.23)").toBe("ENOENT");
    }));

  it("with a ring and no bitmap there is none (M-8.20)", () =>
    onScene(
      {
        ...{ machine, kind: "anonymous", size, flags: LOG },
        prepare: (vm) => vm.enableDirtyRing({ bytes: 65_536, backupBitmap: false }),
      },
      ({ vm }) => {
        const bitmap = BigUint64Array.of(ALL);
        const request = { firstPage: 1, pages: 64, bitmap };
        expect(codeOf(() => vm.clearDirtyLog(SLOT, request))).toBe("ENXIO");
        expect(codeOf(() => vm.getDirtyLog(SLOT))).toBe("ENXIO");
      },
    ));
});
