/** All rows on all machines of a page size. */
import { afterAll, beforeAll, describe, it } from "vitest";
import type { Granule } from "../../hw-model/paging.ts";
import { type Configuration, configurations } from "../harness/configurations.ts";
import { Machine } from "../harness/machine.ts";
import type { WorldOptions } from "./guest_world.ts";
import { play } from "./play.ts";
import { ROWS, type Row, titleOf } from "./rows.ts";

/** Page frames that a row needs: its tables, twice where the host refills them, data, code. */
export const FRAMES = 64;

/** Rows with an access flag need hardware that sets it. */
export function rowsFor({ ha }: Configuration): readonly Row[] {
  return ha ? ROWS : ROWS.filter(({ af }) => !af);
}

/** The address translation instruction of the row with the access flag sets it: the architecture leaves that open. */
export function optionsOf({ operation, af }: Row): WorldOptions {
  return { cpu: { atUpdates: operation === "at" && af } };
}

export function pageFaultSuite(granule: Granule): void {
  describe.each(configurations({ granules: [granule] }))("$name", (configuration) => {
    let machine: Machine;
    beforeAll(async () => {
      machine = await Machine.open(configuration, { frames: FRAMES });
    });
    afterAll(() => machine.close());

    for (const row of rowsFor(configuration))
      it(titleOf(row), () => play(machine, row, optionsOf(row)));
  });
}
