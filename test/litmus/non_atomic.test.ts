/** What the non-atomic option loses, and what it does not: everything that is not in the list was explored to the end. */
import { describe, expect, it } from "vitest";
import { NON_ATOMIC_LOSSES } from "./non_atomic.ts";

/** The promise, and the tests that show its loss, with their variants. */
const LOST: Readonly<Record<string, readonly string[]>> = {
  "an access flag that hardware sets beside relax": ["L2", "L2/walked", "L3", "L3/walked"],
  "an access flag that hardware sets beside write protection": ["L4", "L4/run", "L4/walked"],
  "what aging and write protection did, if nothing keeps them apart": [
    "L5/unlocked",
    "L5/visiting",
  ],
  "an unmapped page stays unmapped beside mkyoung": ["L9"],
  "one access is reported once, if nothing keeps two agers apart": ["L10", "L10/run", "L10/walked"],
  "both permissions that two faults asked for": ["L15"],
  "dirty state that hardware sets beside aging": ["L58"],
};

describe("the non-atomic option", () => {
  for (const [promise, tests] of Object.entries(LOST)) {
    it(`loses: ${promise}`, () => {
      const names = NON_ATOMIC_LOSSES.map(({ name }) => name);
      expect(names).toEqual(expect.arrayContaining([...tests]));
    });
  }

  it("loses nothing else", () => {
    const names = NON_ATOMIC_LOSSES.map(({ name }) => name);
    expect(names.sort()).toEqual(Object.values(LOST).flat().sort());
  });
});
