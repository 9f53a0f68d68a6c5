/**
 * Port of kvm_page_table_test (A2): one range, touched by all vCPUs, while its log is turned on and off. The faults of every
 * stage are counted, and stage 2 is compared entry by entry.
 */
import { describe, it } from "vitest";
import { machineOf } from "../harness/slot/machines.ts";
import { onScene } from "../harness/slot/scene.ts";
import { inTurn } from "../harness/slot/turns.ts";
import { type Backing, backings } from "./backings.ts";
import { exactStages } from "./exact.ts";
import { sceneOf } from "./scenes.ts";
import { Stages } from "./stages.ts";

const MIB = 2 ** 20;
/** Reads of a block's second half, where all would be too many. */
const READS = 64;

function byName(list: readonly Backing[]): [string, Backing][] {
  return list.map((backing) => [backing.name, backing]);
}

describe.each(["4K", "16K", "64K"] as const)("kvm_page_table_test, %s pages", (granule) => {
  const machine = machineOf(granule);

  describe.each(byName(backings(machine)))("%s", (_name, backing) => {
    it.each([1, 2, 4])("%i vCPUs in turn: exactly the faults that there must be", async (vcpus) => {
      const judged = backing.level !== 1;
      await onScene(sceneOf(backing, { machine, vcpus, judged }), (scene) =>
        exactStages(new Stages(scene, backing, inTurn, READS)),
      );
    });
  });
});

describe("kvm_page_table_test, 64 MiB of 4K pages", () => {
  const machine = machineOf("4K");

  it.each(byName(backings(machine, 64 * MIB).filter(({ kind }) => kind !== "hugetlb")))(
    "%s",
    async (_name, backing) => {
      await onScene(sceneOf(backing, { machine, vcpus: 2, judged: false }), (scene) =>
        exactStages(new Stages(scene, backing, inTurn)),
      );
    },
  );
});

describe("kvm_page_table_test in the build without threads", () => {
  const machine = machineOf("4K");

  it.each(byName(backings(machine, MIB)))("%s", async (_name, backing) => {
    const judged = backing.level !== 1;
    await onScene(sceneOf(backing, { machine, vcpus: 2, judged, mode: "single" }), (scene) =>
      exactStages(new Stages(scene, backing, inTurn, READS)),
    );
  });
});
