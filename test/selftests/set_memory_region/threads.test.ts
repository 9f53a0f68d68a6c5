/**
 * set_memory_region_test, SR5 and SR6, with a guest that spins in a thread of its own while its slot moves and goes. What
 * it sees is what was there before, what is there now, or no memory; never what was written to another place.
 */
import { describe, expect, it } from "vitest";
import { configuration, configurations } from "../harness/configurations.ts";
import { type GuestThread, guestBundle, guestThreads } from "../harness/worker/guest_thread.ts";
import { aRound } from "../harness/worker/board.ts";
import { stage } from "./regions.ts";

const SLOT = 10;
const IPA = 0xc000_0000;
const ROUNDS = 20;
const NO_MEMORY = -1;
const QUIET = { end: "done", failures: [], aborts: 0, strange: [] };

const MACHINES = [
  ...configurations({ granules: ["4K"], ipaBits: [40], tlbs: ["no TLB", "large TLB"] }),
  configuration("16K", 48, true, "TLB of 8"),
  configuration("64K", 52, false),
];

const bundle = guestBundle();

describe.each(MACHINES)("$name", (one) => {
  const here = stage(one, { events: 0 });
  const startGuest = guestThreads(bundle);
  const { page } = one;
  const watch = { name: "watch", at: IPA } as const;
  /** What the guest sees once it has looked again. */
  const sees = (guest: GuestThread): number => {
    aRound(guest.board);
    return guest.seen;
  };

  it("SR5: set_memory_region_test: a slot moves while a guest spins on it", async () => {
    const { scene } = here;
    const { vm, host } = scene;
    const { hva, size } = scene.addSlot({ slot: SLOT, ipa: IPA, size: 2 * page });
    const write = (value: bigint): unknown =>
      host.write(hva, new Uint8Array(BigUint64Array.of(value).buffer));
    write(1n);
    const guest = startGuest(scene, watch);
    await guest.running();
    for (let round = 0; round < ROUNDS; round++) {
      expect(sees(guest)).toBe(1);
      vm.setMemslot({ slot: SLOT, ipa: IPA - page, size, hva });
      expect(sees(guest), "the second page").toBe(0);
      write(2n);
      expect(sees(guest), "the second page").toBe(0);
      write(1n);
      vm.setMemslot({ slot: SLOT, ipa: IPA, size, hva });
    }
    expect(await guest.end()).toMatchObject(QUIET);
  });

  it("SR6: set_memory_region_test: a slot goes and comes again while a guest spins on it", async () => {
    const { scene } = here;
    const { vm, host } = scene;
    const place = scene.addSlot({ slot: SLOT, ipa: IPA, size: 2 * page });
    const guest = startGuest(scene, watch);
    await guest.running();
    for (let round = 0; round < ROUNDS; round++) {
      expect(sees(guest)).toBe(0);
      host.write(place.hva, Uint8Array.of(round + 1));
      expect(sees(guest)).toBe(round + 1);
      vm.setMemslot({ ...place, size: 0 });
      expect(sees(guest)).toBe(NO_MEMORY);
      host.punch({ hva: place.hva, size: place.size });
      vm.setMemslot(place);
    }
    const report = await guest.end();
    expect(report).toMatchObject(QUIET);
    expect(report.mmio).toBeGreaterThanOrEqual(ROUNDS);
  });
});
