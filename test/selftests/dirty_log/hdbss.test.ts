/**
 * Dirty pages told by hardware (FEAT_HDBSS) into the same log: a store to a page that was protected takes no fault; the CPU makes
 * the leaf writable and writes an entry. A buffer that is full is a fault, in which it is emptied.
 */
import { describe, expect, it } from "vitest";
import { Access, MemslotFlag } from "../../../src/index.ts";
import { machines } from "../harness/slot/machines.ts";
import { touch } from "../harness/slot/access.ts";
import { countsOf, difference } from "../harness/slot/counts.ts";
import { SLOT, type Scene, type SceneOptions, onScene } from "../harness/slot/scene.ts";
import { shapeOf } from "../harness/slot/shape.ts";

const PAGES = 80;
const MACHINES = machines({ ipaBits: [40], ha: [true] });

describe.each(MACHINES)("HDBSS, %s", (_name, machine) => {
  const options: SceneOptions = {
    ...{ machine, kind: "file", size: PAGES * machine.page, vcpus: 2, hd: true },
    flags: MemslotFlag.LOG_DIRTY_PAGES,
    prepare: (vm) => vm.enableHdbss(),
  };
  const all = Array.from({ length: PAGES }, (_, n) => n);
  const entries = ({ vcpus }: Scene) =>
    vcpus.reduce((n, { cpu }) => n + cpu.statistics.hdbssEntries, 0);
  const told = ({ vm, vcpus }: Scene) => {
    for (const vcpu of vcpus) vcpu.harvestHdbss();
    return [...vm.getDirtyLog(SLOT)];
  };
  /** Both vCPUs write, each every other page. What faults and entries it takes. */
  function writeAll(scene: Scene) {
    const before = { counts: countsOf(scene.vcpus), entries: entries(scene) };
    for (const page of all)
      touch(scene.vcpus[page % 2]!, scene.ipa + page * scene.page, Access.Write);
    const counts = difference(countsOf(scene.vcpus), before.counts);
    return { ...counts, entries: entries(scene) - before.entries };
  }

  it("stores to protected pages take no fault, and every page is told once a round", () =>
    onScene(options, (scene) => {
      expect(writeAll(scene)).toMatchObject({ translation: PAGES, permission: 0 });
      expect(told(scene)).toEqual(all);
      for (let round = 0; round < 3; round++) {
        expect(shapeOf(scene.vm.stage2), "protected again").toEqual({ "L3 r--": PAGES });
        expect(writeAll(scene)).toMatchObject({ translation: 0, permission: 0, entries: PAGES });
        expect(shapeOf(scene.vm.stage2)).toEqual({ "L3 rw-": PAGES });
        expect(writeAll(scene), "they are dirty already").toMatchObject({
          permission: 0,
          entries: 0,
        });
        expect(told(scene)).toEqual(all);
        expect(told(scene)).toEqual([]);
      }
    }));

  it("what is read is not told", () =>
    onScene(options, (scene) => {
      writeAll(scene);
      told(scene);
      for (const page of all) touch(scene.vcpus[0]!, scene.ipa + page * scene.page, Access.Read);
      touch(scene.vcpus[1]!, scene.ipa + 77 * scene.page, Access.Write);
      expect(scene.vcpus.map((vcpu) => vcpu.harvestHdbss())).toEqual([0, 1]);
      expect([...scene.vm.getDirtyLog(SLOT)]).toEqual([77]);
    }));

  it("a buffer that fills up loses nothing", () => {
    const pages = 1400;
    return onScene({ ...options, vcpus: 1, size: pages * machine.page }, (scene) => {
      const write = (): void => {
        for (const ipa of scene.addresses(scene.page)) touch(scene.vcpus[0]!, ipa, Access.Write);
      };
      write();
      told(scene);
      scene.tally.drain();
      for (let round = 0; round < 2; round++) {
        write();
        expect(scene.vcpus[0]!.statistics.harvested, "emptied by a fault").toBeGreaterThan(0);
        expect(told(scene)).toHaveLength(pages);
      }
    });
  });

  it("log off: nothing is told any more, and nothing is lost before", () =>
    onScene(options, (scene) => {
      writeAll(scene);
      told(scene);
      touch(scene.vcpus[0]!, scene.ipa, Access.Write);
      expect(told(scene)).toEqual([0]);
      scene.setSlot(0);
      writeAll(scene);
      scene.setSlot(MemslotFlag.LOG_DIRTY_PAGES);
      expect(told(scene), "a new log begins empty").toEqual([]);
      expect(writeAll(scene).translation).toBe(0);
      expect(told(scene)).toEqual(all);
    }));
});
