/**
 * kvm_page_table_test with eager splitting (A2): turning the log on leaves tables of read-only pages, so that no vCPU takes a
 * translation fault while it is on. Blocks come back by write permission faults alone.
 */
import { describe, expect, it } from "vitest";
import { machineOf } from "../harness/slot/machines.ts";
import { type Scene, SIZES, onScene } from "../harness/slot/scene.ts";
import { Turns, inTurn } from "../harness/slot/turns.ts";
import { type Backing, backings } from "./backings.ts";
import { sceneOf } from "./scenes.ts";
import { Stages } from "./stages.ts";

const GRANULES = ["4K", "16K", "64K"] as const;
const NONE = { translation: 0, permission: 0, accessFlag: 0, retries: 0, again: 0 };

/** Chunks that the split goes by: it is told piece by piece. */
function expectSplits(scene: Scene, chunk: number): void {
  const calls = scene.tally.ranges("split");
  const chunks = Array.from({ length: scene.size / chunk }, (_, n) => ({
    ...{ kind: "split", ipa: scene.ipa + n * chunk, size: chunk },
  }));
  expect(calls).toEqual(chunks);
}

function splitStages(stages: Stages, chunk: number): void {
  const { scene, leaves, backing } = stages;
  stages.create();
  const before = [...scene.vm.stage2.leaves()];
  stages.logOn();
  expectSplits(scene, chunk);
  const order = scene.tally.ranges("wrprotect", "flushTlb", "split").map(({ kind }) => kind);
  expect(order.indexOf("flushTlb"), "the flush is after the protection").toBeGreaterThan(
    order.lastIndexOf("wrprotect"),
  );
  expect(order.indexOf("split"), "and before the split").toBeGreaterThan(order.indexOf("flushTlb"));
  stages.expectShape({ "L3 r--": scene.pages });
  expectSameOutput(scene, before);

  expect(stages.update()).toMatchObject({ ...NONE, permission: leaves, relaxes: leaves, maps: 0 });
  stages.expectShape({ "L3 rw-": leaves, "L3 r--": scene.pages - leaves });
  stages.expectLog();
  stages.logOff();
  expect(stages.adjust(), "nothing is invalid").toMatchObject({ ...NONE, maps: 0 });
  stages.expectShape({ "L3 rw-": leaves, "L3 r--": scene.pages - leaves });

  const collapsed = { permission: leaves, maps: leaves, relaxes: 0, blocks: leaves };
  expect(stages.writeSecondPages()).toMatchObject({ ...NONE, ...collapsed });
  stages.expectShape({ [`L${backing.level} rw-`]: leaves });
}

/** M-8.42: every page translates as its block did. */
function expectSameOutput(
  { vm, page }: Scene,
  blocks: readonly { ipa: number; size: number; pa: number }[],
): void {
  let block = 0;
  for (const leaf of vm.stage2.leaves()) {
    while (leaf.ipa >= (blocks[block]?.ipa ?? 0) + (blocks[block]?.size ?? 0)) block++;
    const { ipa, pa } = blocks[block] as { ipa: number; pa: number };
    if (leaf.size !== page || leaf.pa !== pa + (leaf.ipa - ipa)) {
      expect.fail(`the page at ${leaf.ipa.toString(16)} is at ${leaf.pa.toString(16)}`);
    }
  }
}

/** Blocks: two, and one where it is of thousands of pages. */
function huge(granule: (typeof GRANULES)[number]): [string, Backing][] {
  return backings(machineOf(granule))
    .filter(({ level }) => level < 3)
    .map((backing) => {
      const size = backing.leaf * (granule === "4K" && backing.level === 2 ? 2 : 1);
      return [backing.name, { ...backing, size }];
    });
}

describe.each(GRANULES)("kvm_page_table_test, eager split, %s pages", (granule) => {
  const machine = machineOf(granule);
  const chunk = SIZES[granule].pmd;

  it.each(huge(granule))("%s: chunk of one block", async (_name, backing) => {
    const prepare = (vm: { eagerSplitChunk: number }) => void (vm.eagerSplitChunk = chunk);
    const judged = backing.level !== 1;
    for (const vcpus of granule === "4K" && judged ? [1, 2, 4] : [2]) {
      await onScene(sceneOf(backing, { machine, vcpus, judged, prepare }), (scene) =>
        splitStages(new Stages(scene, backing, inTurn, 128), chunk),
      );
    }
  });

  it.each(huge(granule).filter(([, { level }]) => level === 2))(
    "%s: vCPUs in the middle of each other's faults",
    async (_name, backing) => {
      const turns = new Turns(11);
      const prepare = (vm: { eagerSplitChunk: number }) => void (vm.eagerSplitChunk = chunk);
      await onScene(sceneOf(backing, { machine, vcpus: 4, turns, prepare }), (scene) => {
        const stages = new Stages(scene, backing, (programs) => turns.run(programs), 64);
        stages.create();
        stages.logOn();
        expect(stages.update()).toMatchObject({ translation: 0, maps: 0, dirtied: stages.leaves });
        stages.expectShape({ "L3 rw-": stages.leaves, "L3 r--": scene.pages - stages.leaves });
        stages.expectLog();
        stages.logOff();
        stages.writeSecondPages();
        stages.expectShape({ "L2 rw-": stages.leaves });
      });
    },
  );
});
