/**
 * All stages of kvm_page_table_test where every fault is known beforehand: one access of each vCPU after the other. What each
 * stage must count, and what stage 2 must hold after it (A2).
 */
import { expect } from "vitest";
import type { Stages } from "./stages.ts";

export function exactStages(stages: Stages): void {
  const { scene, backing, leaves } = stages;
  const leaf = `L${backing.level}`;
  const none = { translation: 0, permission: 0, accessFlag: 0, retries: 0, again: 0 };

  expect(stages.create()).toMatchObject({ ...none, translation: leaves, maps: leaves, relaxes: 0 });
  expect(scene.tally.breaks, "broken by map").toBe(0);
  stages.expectShape({ [`${leaf} rw-`]: leaves });

  expect(stages.logOn()).toMatchObject(none);
  expect(scene.tally.ranges("flushTlb")).toEqual([{ kind: "flushTlb", ...scene.slotRange }]);
  expect(scene.tally.count("unmap") + scene.tally.count("split")).toBe(0);
  stages.expectShape({ [`${leaf} r--`]: leaves });

  const { readPages } = stages;
  if (stages.huge) {
    const expected = { permission: leaves, translation: readPages, maps: leaves + readPages };
    expect(stages.update()).toMatchObject({ ...none, ...expected, dirtied: leaves });
    expect(scene.tally.breaks, "blocks that gave way to tables").toBe(leaves);
    stages.expectShape({ "L3 rw-": leaves, "L3 r--": readPages });
  } else {
    const expected = { permission: leaves, relaxes: leaves, maps: 0, dirtied: leaves };
    expect(stages.update()).toMatchObject({ ...none, ...expected });
    expect(scene.tally.count("alloc"), "new tables").toBe(0);
    stages.expectShape({ "L3 rw-": leaves });
  }
  stages.expectLog();

  expect(stages.logOff()).toMatchObject(none);
  expect(scene.tally.count("wrprotect") + scene.tally.count("flushTlb")).toBe(0);

  const faults = stages.huge ? leaves : 0;
  expect(stages.adjust()).toMatchObject({ ...none, translation: faults, maps: faults });
  stages.expectShape({ [`${leaf} rw-`]: leaves });
}
