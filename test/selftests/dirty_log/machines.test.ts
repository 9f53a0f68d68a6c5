/** dirty_log_test with every page size, IPA size, TLB, with and without hardware access flags. */
import { describe, it } from "vitest";
import { chosenMachines } from "../harness/slot/machines.ts";
import { onScene } from "../harness/slot/scene.ts";
import { Turns } from "../harness/slot/turns.ts";
import { MODES } from "./modes.ts";
import { Rounds } from "./rounds.ts";
import { dirtyScene } from "./scenes.ts";

describe.each(MODES)("dirty_log_test, mode %s", (mode) => {
  // Hardware dirty state needs the access flag.
  const list = chosenMachines(mode === "hdbss" ? [true] : [true, false]);

  it.each(list)("%s", async (_name, machine) => {
    const turns = new Turns(5);
    await onScene(dirtyScene(mode, 64, { machine, vcpus: 2, turns }), (scene) => {
      new Rounds(scene, { mode, rounds: 4, seed: 5, stores: 60 }).run(turns);
    });
  });
});
