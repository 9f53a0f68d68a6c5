/**
 * CREATE where a reader comes first (A2, A8; M-5.74): the host gives it the zero page, read-only. The writer's permission fault
 * breaks that: the notifier runs inside the fault, which ends without a library call; the next one maps the page.
 */
import { describe, expect, it } from "vitest";
import { Access } from "../../../src/index.ts";
import { machines } from "../harness/slot/machines.ts";
import { pass } from "../harness/slot/access.ts";
import { countsOf, difference } from "../harness/slot/counts.ts";
import { onScene } from "../harness/slot/scene.ts";
import { shapeOf } from "../harness/slot/shape.ts";
import { inTurn } from "../harness/slot/turns.ts";

const PAGES = 100;
const MACHINES = machines({ ipaBits: [40] });

describe("a reader first, then a writer", () => {
  it.each(MACHINES)("%s: three faults for each page", async (_name, machine) => {
    const size = PAGES * machine.page;
    await onScene({ machine, kind: "anonymous", size, vcpus: 2 }, (scene) => {
      const { vm, vcpus, tally } = scene;
      const [writer, reader] = vcpus as [(typeof vcpus)[0], (typeof vcpus)[0]];
      const addresses = Array.from({ length: PAGES }, (_, n) => scene.ipa + n * scene.page);
      const start = countsOf(vcpus);
      inTurn([pass(reader, addresses, Access.Read)]);
      const read = countsOf(vcpus);
      expect(difference(read, start)).toMatchObject({
        translation: PAGES,
        maps: PAGES,
        permission: 0,
      });
      expect(shapeOf(vm.stage2)).toEqual({ "L3 r--": PAGES });
      expect(new Set([...vm.stage2.leaves()].map(({ pa }) => pa)).size, "zero pages").toBe(1);

      tally.reset();
      inTurn([pass(writer, addresses, Access.Write)]);
      const faults = { permission: PAGES, retries: PAGES, translation: PAGES };
      const calls = { maps: PAGES, relaxes: 0 };
      expect(difference(countsOf(vcpus), read)).toMatchObject({ ...faults, ...calls });
      expect(tally.ranges("unmap"), "one page each, by the notifier").toEqual(
        addresses.map((ipa) => ({ kind: "unmap", ipa, size: scene.page })),
      );
      expect(tally.breaks, "by map").toBe(0);
      expect(shapeOf(vm.stage2)).toEqual({ "L3 rw-": PAGES });
      expect(new Set([...vm.stage2.leaves()].map(({ pa }) => pa)).size).toBe(PAGES);
    });
  });
});
