/**
 * kvm_page_table_test with vCPUs that meet in the middle of faults, in one thread: while one waits for its page, others fault
 * on the same. Some are told to try again, and the end of every stage is the same.
 */
import { describe, expect, it } from "vitest";
import { machineOf } from "../harness/slot/machines.ts";
import { onScene } from "../harness/slot/scene.ts";
import { Turns } from "../harness/slot/turns.ts";
import { backings } from "./backings.ts";
import { sceneOf } from "./scenes.ts";
import { Stages } from "./stages.ts";

const TOUCHED = 2 ** 20;
const READS = 32;

/** How many faults were overtaken by another. */
function racedStages(stages: Stages): number {
  const { scene, backing, leaves } = stages;
  const leaf = `L${backing.level}`;
  const created = stages.create();
  expect(created.translation).toBeGreaterThanOrEqual(leaves);
  expect(scene.tally.breaks).toBe(0);
  stages.expectShape({ [`${leaf} rw-`]: leaves });
  stages.logOn();
  stages.expectShape({ [`${leaf} r--`]: leaves });

  const updated = stages.update();
  expect(updated.permission).toBeGreaterThanOrEqual(leaves);
  expect(updated.dirtied, "pages new in the log").toBe(leaves);
  if (stages.huge) {
    expect(scene.tally.breaks, "each block is broken once, whoever comes").toBe(leaves);
    stages.expectShape({ "L3 rw-": leaves, "L3 r--": stages.readPages });
  } else {
    expect(scene.tally.count("alloc")).toBe(0);
    stages.expectShape({ "L3 rw-": leaves });
  }
  stages.expectLog();
  stages.logOff();
  stages.adjust();
  stages.expectShape({ [`${leaf} rw-`]: leaves });
  return created.again + created.retries + updated.again;
}

describe.each(["4K", "16K", "64K"] as const)("%s pages", (granule) => {
  const machine = machineOf(granule);
  const cases = backings(machine, TOUCHED).map((backing) => [backing.name, backing] as const);

  describe.each(cases)("%s", (_name, backing) => {
    it.each([
      [2, 1],
      [4, 2],
      [8, 3],
    ])("%i vCPUs (seed %i)", async (vcpus, seed) => {
      const turns = new Turns(seed);
      const judged = backing.level !== 1;
      await onScene(sceneOf(backing, { machine, vcpus, judged, turns }), (scene) => {
        const stages = new Stages(scene, backing, (programs) => turns.run(programs), READS);
        const overtaken = racedStages(stages);
        expect(overtaken, "faults that were overtaken").toBeGreaterThan(0);
      });
    });
  });
});
