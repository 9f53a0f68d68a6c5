/**
 * A slot that crosses a 1 GiB line (A8): with 4K pages ranges are done in pieces that end there (M-6.1); with 16K and 64K pages
 * the pieces are as large as their blocks. The TLB flush of the slot is one.
 */
import { describe, expect, it } from "vitest";
import { machineOf } from "../harness/slot/machines.ts";
import { SIZES, type Scene, onScene } from "../harness/slot/scene.ts";
import { inTurn } from "../harness/slot/turns.ts";
import { backings } from "./backings.ts";
import { sceneOf } from "./scenes.ts";
import { Stages } from "./stages.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** The pieces of [ipa, ipa + size), cut at multiples of `block`. */
function pieces(kind: string, ipa: number, size: number, block: number): object[] {
  const found = [];
  for (let at = ipa; at < ipa + size;) {
    const next = Math.min(at - (at % block) + block, ipa + size);
    found.push({ kind, ipa: at, size: next - at });
    at = next;
  }
  return found;
}

/** The largest block of the granule. */
const LARGEST = { "4K": GIB, "16K": SIZES["16K"].pmd, "64K": SIZES["64K"].pmd };

describe.each(["4K", "16K", "64K"] as const)("a slot across 1 GiB, %s pages", (granule) => {
  const machine = machineOf(granule);
  const block = LARGEST[granule];
  const small = backings(machine, 4 * MIB).filter(({ level }) => level > 1);

  it.each(small.map((backing) => [backing.name, backing] as const))(
    "%s: all stages, ranges in pieces",
    async (_name, given) => {
      const size = given.level === 3 ? given.size : 4 * given.leaf;
      const backing = { ...given, size };
      const ipa = 2 * GIB - size / 2;
      await onScene(sceneOf(backing, { machine, ipa, vcpus: 2 }), (scene) => {
        const stages = new Stages(scene, backing, inTurn, 64);
        const leaf = `L${backing.level}`;
        stages.create();
        stages.logOn();
        expect(scene.tally.ranges("wrprotect", "flushTlb")).toEqual([
          ...pieces("wrprotect", ipa, size, block),
          { kind: "flushTlb", ipa, size },
        ]);
        stages.expectShape({ [`${leaf} r--`]: stages.leaves });
        stages.update();
        stages.expectLog();
        stages.logOff();
        stages.adjust();
        stages.expectShape({ [`${leaf} rw-`]: stages.leaves });
        unmapAcross(scene, backing.leaf, block);
      });
    },
  );
});

/** The notifier for the leaves at the line, then for all. */
function unmapAcross({ ipa, size, hva, tally, ram, vm }: Scene, leaf: number, block: number): void {
  tally.reset();
  ram.punch({ hva: hva + size / 2 - leaf, size: 2 * leaf });
  expect(tally.ranges("unmap")).toEqual(pieces("unmap", 2 * GIB - leaf, 2 * leaf, block));
  tally.reset();
  ram.punch({ hva, size });
  expect(tally.ranges("unmap")).toEqual(pieces("unmap", ipa, size, block));
  expect(vm.stage2.counters().leafCount).toBe(0);
}
