/** dirty_log_test on more memory: 64 MiB of pages, and transparent huge pages that the log has to break. */
import { describe, expect, it } from "vitest";
import { Access, MemslotFlag, type Vm } from "../../../src/index.ts";
import { touch } from "../harness/slot/access.ts";
import { SIZES, type SceneOptions, onScene } from "../harness/slot/scene.ts";
import { shapeOf } from "../harness/slot/shape.ts";
import { Turns } from "../harness/slot/turns.ts";
import { MODES, prepareMode } from "./modes.ts";
import { Rounds } from "./rounds.ts";
import { ODD, dirtyScene } from "./scenes.ts";

/** 65,536 entries. */
const LARGEST_RING = 2 ** 20;

describe.each(MODES)("dirty_log_test, mode %s", (mode) => {
  it("64 MiB", async () => {
    const turns = new Turns(7, 1);
    const prepare = (vm: Vm) => prepareMode(mode, vm, LARGEST_RING);
    await onScene(dirtyScene(mode, 16_384, { vcpus: 2, turns, prepare }), (scene) => {
      const rounds = new Rounds(scene, { mode, rounds: 2, seed: 7 });
      rounds.run(turns);
      expect(rounds.told).toBeGreaterThanOrEqual(scene.pages);
    });
  });

  it("behind transparent huge pages, which the log breaks", async () => {
    const turns = new Turns(9);
    const { pmd, page } = SIZES["4K"];
    const blocks = 2;
    const options: Partial<SceneOptions> = {
      ...{ kind: "thp", vcpus: 2, turns, flags: 0, ipa: 8 * pmd },
      ...{ size: blocks * pmd + ODD * page, bytes: (blocks + 2) * pmd },
    };
    await onScene(dirtyScene(mode, blocks * 512, options), (scene) => {
      for (const ipa of scene.addresses(pmd)) touch(scene.vcpus[0]!, ipa, Access.Write);
      expect(shapeOf(scene.vm.stage2)).toMatchObject({ "L2 rw-": blocks });
      scene.setSlot(MemslotFlag.LOG_DIRTY_PAGES);
      const rounds = new Rounds(scene, { mode, rounds: 4, seed: 9, stores: 512 });
      rounds.run(turns);
      expect(shapeOf(scene.vm.stage2)["L2 rw-"], "blocks that one can store to").toBeUndefined();
    });
  });
});
