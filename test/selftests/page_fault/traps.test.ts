/**
 * Where the rows of page_fault_test pass for a wrong reason, or say too little: what really happens, fault by fault. T1 to
 * T6 name the traps, F9 is a row of ours.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SeenFault } from "../harness/guest.ts";
import { configurations } from "../harness/configurations.ts";
import { Machine } from "../harness/machine.ts";
import { MemslotFlag, decodeSyndrome } from "../../../src/index.ts";
import { OPERATIONS } from "../harness/operations.ts";
import { T, World } from "./guest_world.ts";
import { play, playing } from "./play.ts";
import { rowOf } from "./rows.ts";
import { FRAMES } from "./suite.ts";

const LOG = MemslotFlag.LOG_DIRTY_PAGES;
const RO = MemslotFlag.READONLY;

/** A fault in short: what failed, and on what. */
function words({ fsc, s1ptw, write, fetch }: SeenFault): string {
  const type = ["address size", "translation", "access flag", "permission"][fsc >> 2] ?? "other";
  const kind = fetch ? "fetch" : write ? "write" : "read";
  return `${type}, ${s1ptw ? "table" : kind}`;
}

function hardwareMachines() {
  return configurations({ ha: [true], tlbs: ["TLB of 8"] });
}

describe.each(hardwareMachines())("$name", (configuration) => {
  let machine: Machine;
  beforeAll(async () => {
    machine = await Machine.open(configuration, { frames: FRAMES });
  });
  afterAll(() => machine.close());

  it("T1: the guest's own store makes the table's page dirty once; the walk's update makes it dirty again", () => {
    const world = new World(machine, { flags: LOG });
    const { guest } = world;
    playing(world, () => {
      guest.run(() => world.clearAccessFlag(guest));
      expect(world.takeLogs()).toEqual({ data: false, table: true });
      expect(world.takeLogs()).toEqual({ data: false, table: false });
      expect(guest.run(() => OPERATIONS.read64(guest, T, world.data.ipa))).toBe("done");
      expect(world.takeLogs()).toEqual({ data: false, table: true });
    });
  });

  it.each([
    ["that sets access flags", true],
    ["that does not", false],
  ])("T2: AT, on a CPU %s", (_name, atUpdates) => {
    const world = new World(machine, { flags: LOG, cpu: { atUpdates } });
    const { guest } = world;
    playing(world, () => {
      guest.run(() => world.clearAccessFlag(guest));
      world.takeLogs();
      world.dropTables(true);
      world.dropData(true);
      expect(guest.run(() => OPERATIONS.at(guest, T, world.data.ipa))).toBe("done");
      expect(world.missing).toEqual({ tables: 1, data: 0 });
      expect(world.takeLogs()).toEqual({ data: false, table: atUpdates });
      expect(world.hasAccessFlag()).toBe(atUpdates);
    });
  });

  it("T3: CAS on a read-only slot faults as a read first, and then as a write", () => {
    play(machine, rowOf("H", "cas", false), {}, ({ guest }) => {
      const faults = guest.faults.filter(({ s1ptw, fetch }) => !s1ptw && !fetch).map(words);
      expect(faults).toEqual(["translation, read", "permission, write"]);
    });
  });

  it("T4: a store to a read-only slot is an exit first; the host's own copy then fills the hole", () => {
    play(machine, rowOf("H", "write64", false), {}, ({ exits, missing }) => {
      expect(exits.map(({ before }) => before)).toEqual([{ tables: 1, data: 0 }]);
      expect(missing).toEqual({ tables: 1, data: 1 });
    });
  });

  it.each(["access", "walk"] as const)(
    "T5: a table's page is mapped to be read, and again to be written where the walk sets a flag (WnR of the %s)",
    (s1ptwWrite) => {
      const tableFaults = (af: boolean, use: (faults: string[]) => void): void =>
        play(machine, rowOf("E", "read64", af), { cpu: { s1ptwWrite } }, (world) => {
          const page = world.pte - (world.pte % configuration.page);
          const { faults } = world.guest;
          const found = faults.filter(
            ({ s1ptw, ipa = -1 }) => s1ptw && ipa - (ipa % configuration.page) === page,
          );
          use(found.map(words));
        });
      tableFaults(false, (faults) => expect(faults).toEqual(["translation, table"]));
      tableFaults(true, (faults) =>
        expect(faults).toEqual(["translation, table", "permission, table"]),
      );
    },
  );

  it.each([
    ["read64", 0x25],
    ["write64", 0x25],
    ["ld_preidx", 0x25],
    ["exec", 0x21],
  ] as const)(
    "F9: page_fault_test: tables in a read-only slot: %s with access flag is an abort in the guest",
    (operation, ec) => {
      const world = new World(machine, { tableFlags: RO });
      const { guest } = world;
      playing(world, () => {
        world.clearAccessFlagByHost();
        expect(guest.run(() => OPERATIONS[operation](guest, T, world.data.ipa))).toBe("abort");
        expect([guest.mmio, guest.failures, guest.aborts.length]).toEqual([0, [], 1]);
        const [abort] = guest.aborts;
        expect(abort?.far).toBe(BigInt(operation === "exec" ? T + 8 : T));
        const syndrome = decodeSyndrome(abort?.esr ?? 0n);
        expect([syndrome.ec, syndrome.abort?.fsc]).toEqual([ec, 0x10]);
        expect(world.hasAccessFlag()).toBe(false);
      });
    },
  );
});
