/**
 * AT6: vCPUs touch overlapping ranges while the host ages them, in a random order. Every access flag that was set is told by
 * exactly one clearing, or is still there.
 */
import { describe, expect, it } from "vitest";
import { Chance } from "../../../src/explorer/random.ts";
import { Access } from "../../../src/index.ts";
import { machines } from "../harness/slot/machines.ts";
import { touch } from "../harness/slot/access.ts";
import { countsOf } from "../harness/slot/counts.ts";
import { type Scene, onScene } from "../harness/slot/scene.ts";
import { type Program, Turns } from "../harness/slot/turns.ts";
import { Tracker, type Share } from "./tracker.ts";

const PAGES = 120;
const ROUNDS = 5;

/** Touches its share again and again, in an order of its own. */
function* guest({ vcpu, first, end }: Share, { ipa, page }: Scene, seed: number): Program {
  const chance = new Chance(seed);
  for (let n = ROUNDS * (end - first); n > 0; n--) {
    const at = n > (ROUNDS - 1) * (end - first) ? n % (end - first) : chance.below(end - first);
    touch(vcpu, ipa + (first + at) * page, n % 3 === 0 ? Access.Write : Access.Read);
    yield;
  }
}

/** Ages pages at random; how often each was found young. */
function* ager({ vm, hva, page }: Scene, found: Uint32Array, seed: number): Program {
  const chance = new Chance(seed);
  for (let n = ROUNDS * PAGES; n > 0; n--) {
    const at = chance.below(PAGES);
    const range = { hva: hva + at * page, size: page };
    const young = chance.below(4) === 0 ? vm.clearFlushYoung(range) : vm.clearYoung(range);
    if (young) found[at] = (found[at] as number) + 1;
    yield;
  }
}

describe("AT6", () => {
  it.each(machines({ ipaBits: [40] }))(
    "%s: nothing is lost and nothing told twice",
    async (_name, machine) => {
      for (const vcpus of [1, 2, 4]) {
        const turns = new Turns(vcpus * 77);
        const options = {
          machine,
          vcpus,
          turns,
          kind: "file",
          size: PAGES * machine.page,
        } as const;
        await onScene(options, (scene) => {
          const tracker = new Tracker(scene);
          const found = new Uint32Array(PAGES);
          const guests = tracker
            .shares(PAGES / 4)
            .map((share, n) => guest(share, scene, n + vcpus));
          turns.run([...guests, ager(scene, found, 5), ager(scene, found, 6)]);

          const counts = countsOf(scene.vcpus);
          const updates = scene.vcpus.reduce(
            (n, { cpu }) => n + cpu.statistics.accessFlagUpdates.stage2,
            0,
          );
          const left = tracker.flagged();
          const told = found.reduce((sum, n) => sum + n, 0);
          // A leaf begins young. A map that lost against another made none, but may have made the other's young again (M-5.73).
          const set = counts.maps - counts.again + updates + counts.accessFlag;
          expect(told + left.size).toBeGreaterThanOrEqual(set);
          expect(told + left.size).toBeLessThanOrEqual(set + counts.again);
          if (vcpus === 1) expect(told + left.size).toBe(set);
          for (let page = 0; page < PAGES; page++) {
            if (found[page] === 0) expect(left.has(page), `page ${page} was used`).toBe(true);
          }
          expect(machine.ha ? counts.accessFlag : updates).toBe(0);
        });
      }
    },
  );
});
