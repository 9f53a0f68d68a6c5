/**
 * Port of dirty_log_test (A3), in one thread with a decided order: in every mode each page that was stored to is told once,
 * in the collection behind the store or the one after it.
 */
import { describe, expect, it } from "vitest";
import { Access, MemslotFlag } from "../../../src/index.ts";
import { machineOf, machines } from "../harness/slot/machines.ts";
import { touch } from "../harness/slot/access.ts";
import { SIZES, type SceneOptions, onScene } from "../harness/slot/scene.ts";
import { shapeOf } from "../harness/slot/shape.ts";
import { Turns } from "../harness/slot/turns.ts";
import { MODES, type ModeName, prepareMode } from "./modes.ts";
import { Rounds } from "./rounds.ts";

const LOG = MemslotFlag.LOG_DIRTY_PAGES;
const ODD = 3;

function sceneOf(mode: ModeName, pages: number, options: Partial<SceneOptions>): SceneOptions {
  const { page } = (options.machine ?? machineOf("4K")) as { page: number };
  return {
    ...{ kind: "anonymous", size: (pages + ODD) * page, bytes: (pages + ODD + 1) * page },
    ...{ flags: LOG, hd: mode === "hdbss", judged: false },
    prepare: (vm) => prepareMode(mode, vm, Math.max(page, 4096)),
    ...options,
  };
}

describe.each(MODES)("dirty_log_test, mode %s", (mode) => {
  it.each([1, 2, 3, 4])("%i vCPUs", async (vcpus) => {
    const turns = new Turns(vcpus);
    await onScene(sceneOf(mode, 1024, { vcpus, turns }), (scene) => {
      const rounds = new Rounds(scene, { mode, rounds: 6, seed: vcpus });
      rounds.run(turns);
      expect(rounds.told).toBeGreaterThanOrEqual(scene.pages);
      if (mode.startsWith("ring")) expect(rounds.fullExits).toBeGreaterThan(0);
    });
  });

  it("64 MiB", async () => {
    const turns = new Turns(7, 1);
    await onScene(sceneOf(mode, 16_384, { vcpus: 2, turns }), (scene) => {
      const rounds = new Rounds(scene, { mode, rounds: 3, seed: 7 });
      rounds.run(turns);
      expect(rounds.told).toBeGreaterThanOrEqual(scene.pages);
    });
  });

  it("behind transparent huge pages, which the log breaks", async () => {
    const turns = new Turns(9);
    const { pmd, page } = SIZES["4K"];
    const blocks = 3;
    const options: Partial<SceneOptions> = {
      ...{ kind: "thp", vcpus: 2, turns, flags: 0, ipa: 8 * pmd },
      ...{ size: blocks * pmd + ODD * page, bytes: (blocks + 2) * pmd },
    };
    await onScene(sceneOf(mode, blocks * 512, options), (scene) => {
      for (const ipa of scene.addresses(pmd)) touch(scene.vcpus[0]!, ipa, Access.Write);
      expect(shapeOf(scene.vm.stage2)).toMatchObject({ "L2 rw-": blocks });
      scene.setSlot(LOG);
      const rounds = new Rounds(scene, { mode, rounds: 4, seed: 9 });
      rounds.run(turns);
      expect(shapeOf(scene.vm.stage2)["L2 rw-"], "blocks that one can store to").toBeUndefined();
    });
  });
});

describe.each(MODES)("dirty_log_test on every machine, mode %s", (mode) => {
  // Hardware dirty state needs the access flag.
  const list = machines({ ipaBits: [36, 40, 48, 52], ...(mode === "hdbss" ? { ha: [true] } : {}) });

  it.each(list)("%s", async (_name, machine) => {
    const turns = new Turns(5);
    await onScene(sceneOf(mode, 128, { machine, vcpus: 2, turns }), (scene) => {
      new Rounds(scene, { mode, rounds: 4, seed: 5, stores: 100 }).run(turns);
    });
  });
});
