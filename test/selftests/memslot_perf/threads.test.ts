/** memslot_perf_test with the guest in a thread of its own: it stores while the host drops and moves the memory. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { configuration } from "../harness/configurations.ts";
import { Machine, type Scene } from "../harness/machine.ts";
import { guestBundle, guestThreads } from "../harness/worker/guest_thread.ts";
import { aRound, meet } from "../harness/worker/board.ts";
import { Area, VALUES, framesFor } from "./area.ts";

const MOVES = 20;
const ROUNDS = 2;
/** What MS4 and MS5 write. */
const WRITTEN = 64 * 1024;
/** Bytes of a half that MS2 and MS3 drop. */
const DROPPED = 8 * 2 ** 20;
const QUIET = { end: "done", failures: [], aborts: 0, strange: [] };

/** What the guest writes, and what the host drops of it. */
interface Half {
  readonly from: number;
  readonly to: number;
  readonly value: bigint;
  readonly dropped: number;
}

const CASES = [
  ["1 slot, 4K", configuration("4K", 40), 1],
  ["32 slots, 4K, no TLB", configuration("4K", 48, false, "no TLB"), 32],
  ["512 slots, 16K", configuration("16K", 48, true, "TLB of 8"), 512],
  ["512 slots, 64K", configuration("64K", 52), 512],
  ["32,766 slots, 4K", configuration("4K", 40), 32_766],
] as const;

const bundle = guestBundle();

describe.each(CASES)("%s", (_name, one, slots) => {
  let machine: Machine;
  let scene: Scene;
  let area: Area;
  beforeAll(async () => {
    const sizes = { maxTablePages: 16_384, mappablePages: 2 ** 18 };
    machine = await Machine.open(one, { frames: framesFor(one.page), events: 0, ...sizes });
  });
  beforeEach(() => {
    scene = machine.scene();
    area = new Area(scene, slots);
  });
  afterEach(() => scene.finish());
  afterAll(() => machine.close());
  const startGuest = guestThreads(bundle);

  /** The guest stores in one half by turns; the host checks the other one, and drops it. */
  const takeTurns = async (halves: readonly [Half, Half], chunk?: number): Promise<void> => {
    const guest = startGuest(scene, { name: "halves", rounds: ROUNDS, step: area.step, halves });
    await guest.running();
    for (let turn = 0; turn < 2 * ROUNDS; turn++) {
      const { from, to, value, dropped } = halves[(turn + 1) % 2] as Half;
      // The guest is writing its half; the other one holds what it wrote the turn before.
      expect(area.others(from, to - from, turn === 0 ? 0n : value)).toEqual([]);
      area.drop(from, dropped, chunk);
      expect(area.others(from, to - from, 0n), "nothing is left").toEqual([]);
      area.drop(from, dropped, chunk);
      meet(guest.board);
    }
    expect(await guest.end()).toMatchObject({ ...QUIET, mmio: 0 });
    const { from, to, value } = halves[1];
    expect(area.others(from, to - from, value)).toEqual([]);
  };

  it("MS1: memslot_perf_test: map: the guest writes one half while the host drops the other", async () => {
    const half = Math.floor(area.size / area.step / 2) * area.step;
    const middle = area.base + half;
    const rest = area.size - half;
    await takeTurns([
      { from: area.base, to: middle, value: VALUES.first, dropped: half },
      { from: middle, to: middle + rest, value: VALUES.second, dropped: rest },
    ]);
  });

  it.each([
    ["MS2: memslot_perf_test: unmap: page by page", one.page],
    ["MS3: memslot_perf_test: unmap chunked: 2 MiB at a time", 2 ** 21],
  ])("%s, while the guest touches the other half", async (_title, chunk) => {
    const middle = area.base + DROPPED;
    await takeTurns(
      [
        { from: area.base, to: area.base + 8, value: VALUES.first, dropped: DROPPED },
        { from: middle, to: middle + 8, value: VALUES.second, dropped: DROPPED },
      ],
      chunk,
    );
  });

  const active = [
    "MS4: memslot_perf_test: move active: the guest writes across its boundary",
    WRITTEN / 2,
  ] as const;
  const inactive = [
    "MS5: memslot_perf_test: move inactive: the guest writes just below it",
    0,
  ] as const;
  // Below the only slot is nothing.
  it.each(slots === 1 ? [active] : [active, inactive])("%s", async (_title, inside) => {
    const { last } = area;
    const away = { ...last, ipa: area.base + 2 * area.size };
    const from = Math.max(area.base, last.ipa + inside - WRITTEN);
    const to = last.ipa + inside;
    const exits = { from: last.ipa, to };
    const guest = startGuest(scene, { name: "store", from, to, exits });
    await guest.running();
    for (let move = 0; move < MOVES; move++) {
      scene.vm.setMemslot(away);
      if (move % 10 === 0) aRound(guest.board);
      scene.vm.setMemslot(last);
      if (move % 10 === 5) aRound(guest.board);
    }
    aRound(guest.board);
    const { mmio, ...report } = await guest.end();
    expect(report).toEqual(QUIET);
    expect(mmio > 0).toBe(inside > 0);
    for (let at = from; at < to; at += 8) {
      if (area.read(at) !== BigInt(at)) expect.fail(`${at.toString(16)} holds ${area.read(at)}`);
    }
    expect(area.others(to, one.page, 0n), "what lies behind").toEqual([]);
  });
});
