/** One row, played on a machine: prepare, drop, access, compare every count. */
import { expect } from "vitest";
import type { Machine } from "../harness/machine.ts";
import { OPERATIONS } from "../harness/operations.ts";
import { T, World, type WorldOptions } from "./guest_world.ts";
import type { Row } from "./rows.ts";

/** Fault status codes 0x08 to 0x0b. */
const ACCESS_FLAG = 2;

/** Plays a row; `use` looks at its world before it ends. */
export function play(
  machine: Machine,
  row: Row,
  options: WorldOptions = {},
  use?: (world: World) => void,
): void {
  const { group, operation, af } = row;
  const world = new World(machine, { flags: group.flags, ...options });
  const { guest } = world;
  playing(world, () => {
    if (af) expect(guest.run(() => world.clearAccessFlag(guest))).toBe("done");
    if (row.dirty !== undefined) world.takeLogs(); // what the guest did so far counts no more
    if (group.holes === "both") world.dropTables(group.hooked);
    if (group.holes !== "none") world.dropData(group.hooked);
    guest.faults.length = 0;
    const end = guest.run(() => OPERATIONS[operation](guest, T, world.data.ipa));
    compare(row, world, end);
    use?.(world);
  });
}

/** Does something in a world, and ends it. */
export function playing(world: World, work: () => void): void {
  try {
    work();
  } catch (error) {
    world.scene.abandon();
    throw error;
  }
  world.scene.finish();
}

function compare(row: Row, world: World, end: string): void {
  const { guest, missing } = world;
  expect({
    end,
    missing,
    mmio: guest.mmio,
    failures: guest.failures,
    aborts: guest.aborts,
    skipped: guest.skipped,
    accessFlagFaults: guest.faults.filter(({ fsc }) => fsc >> 2 === ACCESS_FLAG).length,
  }).toEqual({
    end: row.failed > 0 ? "failed" : "done",
    missing: row.missing,
    mmio: row.mmio,
    failures: row.failed > 0 ? ["ENOSYS"] : [],
    aborts: [],
    skipped: 0,
    accessFlagFaults: 0, // of stage 2: what is mapped is young, and nothing ages it
  });
  for (const exit of world.exits) {
    expect(exit).toMatchObject({ address: world.data.ipa, size: 8, write: true });
  }
  if (row.af) expect(world.hasAccessFlag(), "the walk set the access flag").toBe(true);
  if (row.dirty !== undefined) expect(world.takeLogs()).toEqual(row.dirty);
}
