/**
 * Port of dirty_log_test (A3), in one thread with a decided order: in every mode each page that was stored to is told once,
 * in the collection behind the store or the one after it.
 */
import { describe, expect, it } from "vitest";
import { onScene } from "../harness/slot/scene.ts";
import { Turns } from "../harness/slot/turns.ts";
import { MODES } from "./modes.ts";
import { Rounds } from "./rounds.ts";
import { dirtyScene } from "./scenes.ts";

describe.each(MODES)("dirty_log_test, mode %s", (mode) => {
  it.each([1, 2, 3, 4])("%i vCPUs", async (vcpus) => {
    const turns = new Turns(vcpus);
    await onScene(dirtyScene(mode, 512, { vcpus, turns }), (scene) => {
      const rounds = new Rounds(scene, {
        ...{ mode, seed: vcpus, stores: 512 },
        rounds: mode.startsWith("ring") ? 10 : 4, // a full ring ends a round early
      });
      rounds.run(turns);
      expect(rounds.told).toBeGreaterThanOrEqual(scene.pages);
      if (mode.startsWith("ring")) expect(rounds.fullExits).toBeGreaterThan(0);
    });
  });

  it("in the build without threads", async () => {
    const turns = new Turns(13);
    await onScene(dirtyScene(mode, 256, { vcpus: 3, turns, mode: "single" }), (scene) => {
      const rounds = new Rounds(scene, { mode, rounds: 5, seed: 13, stores: 256 });
      rounds.run(turns);
      expect(rounds.told).toBeGreaterThanOrEqual(scene.pages);
    });
  });
});
