/** Which promises the non-atomic option loses: found by exploring the tests that change attributes again, on such tables. */
import { explore } from "../../src/explorer/explore.ts";
import type { Litmus } from "../../src/explorer/litmus.ts";
import { World } from "../../src/explorer/world.ts";
import { aging } from "./catalogue/b1_aging.ts";
import { exclusive } from "./catalogue/b1_exclusive.ts";
import { faults } from "./catalogue/b1_faults.ts";
import { ranges } from "./catalogue/b1_ranges.ts";
import { upgrades } from "./catalogue/b1_upgrades.ts";
import { permissions } from "./catalogue/b2_permissions.ts";
import { dirty } from "./catalogue/b5_dirty.ts";
import { structures } from "./catalogue/b5_structures.ts";
import { onNonAtomicTable } from "./catalogue/non_atomic.ts";
import { engineBuild, subjectOf } from "./check.ts";

/** A promise that does not hold on a non-atomic table. */
export interface Loss {
  /** The test that speaks of it. */
  readonly name: string;
  readonly title: string;
  /** What was seen. */
  readonly seen: string;
}

/** Too many schedules to be looked at in full, and nothing of what they are about is in them alone. */
const LONG = ["L22", "L9/freed"];

/** Tests of calls that change attributes of entries. The others have nothing to lose: breaking and unmapping stay atomic. */
const TESTS: readonly Litmus[] = [
  ...upgrades,
  ...aging,
  ...ranges,
  ...exclusive,
  ...faults,
  ...permissions,
  ...dirty,
  ...structures,
].filter(({ name }) => !LONG.includes(name));

/** All of them are done in a fraction of it. */
const MILLISECONDS = 20_000;

/** @throws Error if a test could be explored only in part: then nothing is known of it. */
function lossOf(test: Litmus): Loss[] {
  const world = new World(onNonAtomicTable(test), engineBuild());
  const settings = { seed: 1, time: MILLISECONDS, first: true, preemptions: 3 };
  const { failure, exhaustive } = explore(subjectOf(world), settings);
  const { name, title } = test;
  if (failure !== undefined) return [{ name, title, seen: failure.message }];
  if (!exhaustive) throw new Error(`${name} has too many schedules to know what it loses`);
  return [];
}

/** What is lost, in the order of the tests. */
export const NON_ATOMIC_LOSSES: readonly Loss[] = TESTS.flatMap(lossOf);
