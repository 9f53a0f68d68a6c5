/**
 * Port of access_tracking_perf_test (A4), made exact: which pages are young follows from which accesses had to walk. A page
 * whose translation is cached stays old however hot it is (M-7.4), unless the flush went with the clearing (M-7.3).
 */
import { describe, expect, it } from "vitest";
import { Access } from "../../../src/index.ts";
import type { Configuration } from "../harness/configurations.ts";
import { chosenMachines, machines } from "../harness/slot/machines.ts";
import { SIZES, type SceneOptions, onScene } from "../harness/slot/scene.ts";
import { shapeOf } from "../harness/slot/shape.ts";
import { type Pass, Tracker, everything, expectSame } from "./tracker.ts";

const PAGES = 120;
/** Reach of a share into its neighbour's. */
const OVERLAP = 16;

function pagesOf(machine: Configuration, vcpus: number): SceneOptions {
  const size = PAGES * machine.page;
  return { machine, vcpus, kind: "anonymous", size, vmEvents: ["map", "range", "slot"] };
}

/** AT1 to AT7 on a slot whose leaves are `unit` bytes. */
function track(tracker: Tracker, machine: Configuration, overlap: number): void {
  const { vm, tally } = tracker.scene;
  const all = everything(tracker.units);
  const shares = tracker.shares(overlap);
  const leaf = `L${tracker.unit === tracker.scene.page ? 3 : 2} rw-`;

  // AT1: everything was written, everything is young.
  const first = tracker.pass(shares, Access.Write);
  expectSame(first.touched, all);
  expect(first.otherFaults).toBe(tracker.units);
  expect(shapeOf(vm.stage2)).toEqual({ [leaf]: tracker.units });

  // AT2: again; nothing to do for anybody.
  for (const access of [Access.Write, Access.Read]) {
    const again = tracker.pass(shares, access);
    expect(again).toMatchObject({ updates: 0, accessFlagFaults: 0, otherFaults: 0 });
  }

  // AT3: every page was young, and is old now; no TLB was flushed for it.
  tally.reset();
  expectSame(tracker.young(vm.clearYoung.bind(vm)), all);
  expect(tally.count("tlbiVmid") + tally.count("tlbiIpa") + tally.count("tlbiRange")).toBe(0);
  expect(shapeOf(vm.stage2)).toEqual({ [`${leaf} old`]: tracker.units });

  // AT4: what walks makes its page young again: by hardware, or by one fault.
  const second = tracker.pass(shares, Access.Write);
  expectSetBy(second, machine);
  expectSame(tracker.flagged(), second.walked);
  if (machine.tlb === false) expectSame(second.walked, all);

  // AT5: young is what walked.
  expectSame(
    tracker.young(({ hva }) => vm.testYoung(hva)),
    second.walked,
  );
  expectSame(tracker.young(vm.clearYoung.bind(vm)), second.walked);
  expectSame(tracker.young(vm.clearYoung.bind(vm)), new Set());

  // AT7: with the flush everything is told that was used, each time.
  expectSetBy(tracker.pass(shares, Access.Read), machine);
  const flagged = tracker.flagged();
  tally.reset();
  expectSame(tracker.young(vm.clearFlushYoung.bind(vm)), flagged);
  expect(tally.count("tlbiVmid"), "one flush for each call that found something").toBe(
    flagged.size,
  );
  tracker.young(vm.clearFlushYoung.bind(vm));
  expect(tally.count("tlbiVmid")).toBe(flagged.size);
  expect(vm.clearFlushYoung({ hva: tracker.scene.hva, size: tracker.scene.size })).toBe(false);
}

/** Each page that was walked to was marked once; nothing else happened. */
function expectSetBy(
  { walked, updates, accessFlagFaults, otherFaults }: Pass,
  { ha }: Configuration,
) {
  expect({ updates, accessFlagFaults, otherFaults }).toEqual({
    updates: ha ? walked.size : 0,
    accessFlagFaults: ha ? 0 : walked.size,
    otherFaults: 0,
  });
}

const MACHINES = chosenMachines();
const AT_40 = machines({ ipaBits: [40] });

describe("access_tracking, exact", () => {
  it.each(MACHINES)("%s: pages, two vCPUs that overlap", async (_name, machine) => {
    await onScene(pagesOf(machine, 2), (scene) => track(new Tracker(scene), machine, OVERLAP));
  });

  describe.each(AT_40)("%s", (_name, machine) => {
    it.each([1, 4])("pages, %i vCPUs", async (vcpus) => {
      await onScene(pagesOf(machine, vcpus), (scene) => track(new Tracker(scene), machine, 0));
    });

    it("blocks: one access flag for all of a block", async () => {
      const { pmd } = SIZES[machine.granule];
      await onScene({ machine, vcpus: 2, kind: "thp", size: 8 * pmd }, (scene) => {
        track(new Tracker(scene, pmd), machine, 2);
        touchedAnywhere(new Tracker(scene, pmd));
      });
    });

    it("flushed after every round: every page is found every time (AT7)", async () => {
      await onScene(pagesOf(machine, 2), (scene) => {
        const tracker = new Tracker(scene);
        const { vm, tally } = scene;
        for (let round = 0; round < 4; round++) {
          tracker.pass(tracker.shares(), round % 2 === 0 ? Access.Write : Access.Read);
          tally.reset();
          if (round < 2) expectSame(tracker.young(vm.clearFlushYoung.bind(vm)), everything(PAGES));
          else expect(vm.clearFlushYoung({ hva: scene.hva, size: scene.size })).toBe(true);
          expect(tally.count("tlbiVmid")).toBe(round < 2 ? PAGES : 1);
        }
        expect(tracker.flagged().size).toBe(0);
      });
    });
  });
});

/** Whatever part of a block is asked about, the answer is the block's; asking clears all of it. */
function touchedAnywhere(tracker: Tracker): void {
  const { vm, hva, page } = tracker.scene;
  vm.clearYoung({ hva, size: tracker.scene.size });
  vm.flushTlb(tracker.scene.slotRange);
  tracker.pass(tracker.shares(), Access.Read);
  const last = { hva: hva + tracker.unit - page, size: page };
  expect([vm.testYoung(last.hva), vm.clearYoung(last), vm.testYoung(hva)]).toEqual([
    true,
    true,
    false,
  ]);
}
