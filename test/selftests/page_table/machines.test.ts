/** kvm_page_table_test with every page size, IPA size, TLB, with and without hardware access flags. */
import { describe, it } from "vitest";
import { chosenMachines } from "../harness/slot/machines.ts";
import { onScene } from "../harness/slot/scene.ts";
import { inTurn } from "../harness/slot/turns.ts";
import { backings } from "./backings.ts";
import { exactStages } from "./exact.ts";
import { sceneOf } from "./scenes.ts";
import { Stages } from "./stages.ts";

const TOUCHED = 2 ** 19;

describe("kvm_page_table_test on every machine", () => {
  it.each(chosenMachines())("%s", async (_name, machine) => {
    for (const backing of backings(machine, TOUCHED)) {
      if (backing.kind === "hugetlb") continue;
      await onScene(sceneOf(backing, { machine, vcpus: 2 }), (scene) =>
        exactStages(new Stages(scene, backing, inTurn, 16)),
      );
    }
  });
});
