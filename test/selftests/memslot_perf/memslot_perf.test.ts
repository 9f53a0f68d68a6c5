/**
 * memslot_perf_test, MS1 to MS6: 512 MiB in up to 32,766 slots that are mapped, dropped, moved and shared with the host. One
 * thread: guest and host take turns. Those that run at the same time are in threads.test.ts.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { configuration } from "../harness/configurations.ts";
import type { Guest } from "../harness/guest.ts";
import { Machine, type Scene } from "../harness/machine.ts";
import { Area, VALUES, framesFor } from "./area.ts";

const MIB = 2 ** 20;
/** What MS4 and MS5 write, half of it in the last slot or just below; and what MS2 and MS3 drop. */
const MOVED = 64 * 1024;
const DROPPED = 32 * MIB;

/** Where every change of the tables is judged: elsewhere there are too many. */
const JUDGED = new Set(["64K"]);

/** The number of slots, and machines whose page size, TLB and hardware differ. */
const CASES = [
  [1, configuration("4K", 40, true, "no TLB")],
  [32, configuration("4K", 40, false, "no TLB")],
  [2, configuration("4K", 44, true, "TLB of 8")],
  [512, configuration("4K", 40, false, "TLB of 8")],
  [32_766, configuration("4K", 40, true, "TLB of 8")],
  [32, configuration("4K", 48)],
  [1, configuration("16K", 40, true, "TLB of 8")],
  [512, configuration("16K", 48, false)],
  [2, configuration("64K", 40, true, "no TLB")],
  [512, configuration("64K", 52, true, "TLB of 8")],
] as const;

describe.each(CASES.map(([slots, one]) => [`${slots} slots, ${one.name}`, slots, one] as const))(
  "%s",
  (_name, slots, one) => {
    let machine: Machine;
    let scene: Scene;
    let area: Area;
    let guest: Guest;
    beforeAll(async () => {
      machine = await Machine.open(one, {
        frames: framesFor(one.page),
        mappablePages: 2 ** 18,
        events: JUDGED.has(one.granule) ? 2 ** 18 : 0,
        maxTablePages: 16_384,
      });
    });
    beforeEach(() => {
      scene = machine.scene();
      area = new Area(scene, slots);
      guest = scene.guest();
    });
    afterEach(() => scene.finish());
    afterAll(() => machine.close());

    const stores = (from: number, size: number, value: bigint): void => {
      const program = (): void => {
        for (const at of area.touched(from, size)) guest.store(at, value);
      };
      expect(guest.run(program)).toBe("done");
    };
    const wrong = (from: number, size: number, value: bigint): number[] =>
      area.others(from, size, value);

    it("MS1: memslot_perf_test: map: one half is written while the other is dropped", () => {
      const half = Math.floor(area.size / area.step / 2) * area.step;
      const [first, second] = [area.base, area.base + half];
      const rest = area.size - half;
      for (let round = 0; round < 2; round++) {
        stores(first, half, VALUES.first);
        if (round > 0) expect(wrong(second, rest, VALUES.second)).toEqual([]);
        area.drop(second, rest);
        expect(mappedFrom(scene, second)).toEqual([]);
        stores(second, rest, VALUES.second);
        expect(wrong(first, half, VALUES.first)).toEqual([]);
        area.drop(first, half);
        expect(wrong(first, half, 0n), "nothing is left").toEqual([]);
        area.drop(first, half);
      }
      expect(wrong(second, rest, VALUES.second)).toEqual([]);
      expect(guest.mmio).toBe(0);
    });

    it.each([
      ["MS2: memslot_perf_test: unmap: page by page", one.page],
      ["MS3: memslot_perf_test: unmap chunked: 2 MiB at a time", 2 * MIB],
    ])("%s", (_title, chunk) => {
      const half = DROPPED / 2;
      const [first, second] = [area.base, area.base + half];
      const before = scene.vm.state.seq;
      for (let round = 0; round < 2; round++) {
        stores(first, 8, VALUES.first);
        if (round > 0) expect(area.read(second)).toBe(VALUES.second);
        area.drop(second, half, chunk);
        stores(second, 8, VALUES.second);
        expect(area.read(first)).toBe(VALUES.first);
        area.drop(first, half, chunk);
        expect(area.read(first)).toBe(0n);
      }
      expect(area.read(second)).toBe(VALUES.second);
      const { seq, inProgress, active } = scene.vm.state;
      // The copy of a page of zeros that the guest reads or writes may be an invalidation too: at least one per piece.
      expect(seq - before).toBeGreaterThanOrEqual((4 * half) / chunk);
      expect(seq - before).toBeLessThan((4 * half) / chunk + 16);
      expect([inProgress, active]).toEqual([0, 0]);
    });

    const active = [
      "MS4: memslot_perf_test: move active: writes across its boundary",
      MOVED / 2,
    ] as const;
    const inactive = ["MS5: memslot_perf_test: move inactive: writes just below it", 0] as const;
    // Below the only slot is nothing.
    it.each(slots === 1 ? [active] : [active, inactive])("%s", (_title, inside) => {
      const { last } = area;
      const away = { ...last, ipa: area.base + 2 * area.size };
      const from = Math.max(area.base, last.ipa + inside - MOVED);
      const to = last.ipa + inside;
      for (const [turn, place] of [last, away, last, away, last].entries()) {
        if (turn > 0) expect(scene.vm.setMemslot(place)).toBe("move");
        const before = guest.mmio;
        expect(guest.run(() => storeWords(guest, from, to, turn))).toBe("done");
        expect(guest.mmio - before).toBe(place === away ? inside / 8 : 0);
        const held = turn - (place === away ? 1 : 0);
        expect(wordThatDiffers(area, last.ipa, to, held), "in the slot that moves").toBeUndefined();
        expect(wordThatDiffers(area, from, last.ipa, turn), "below it").toBeUndefined();
      }
      expect(area.read(to), "what lies behind").toBe(0n);
    });

    it("MS6: memslot_perf_test: RW: guest and host write for each other", () => {
      const middle = one.page / 2;
      for (let round = 0; round < 2; round++) {
        for (const at of area.touched(area.base, area.size)) area.write(at + middle, VALUES.second);
        expect(guest.run(() => shareWithHost(guest, area, middle))).toBe("done");
        expect(wrong(area.base, area.size, VALUES.first)).toEqual([]);
        for (const at of area.touched(area.base, area.size)) area.write(at, 0n);
      }
      expect(wrong(area.base + middle, area.size - middle, 0n), "the guest took them").toEqual([]);
      expect(guest.mmio).toBe(0);
    });
  },
);

/** The guest's side of MS6: it stores at the start of pages; what the host stored in their middle it takes away. */
function shareWithHost(guest: Guest, area: Area, middle: number): void {
  let wrong = 0;
  for (const at of area.touched(area.base, area.size)) {
    guest.store(at, VALUES.first);
    if (guest.load(at + middle) !== VALUES.second) wrong++;
    guest.store(at + middle, 0n);
  }
  expect(wrong, "places where the guest saw another value").toBe(0);
}

/** Each word gets its address and the turn. */
function storeWords(guest: Guest, from: number, to: number, turn: number): void {
  for (let at = from; at < to; at += 8) guest.store(at, BigInt(at + turn));
}

function wordThatDiffers(area: Area, from: number, to: number, turn: number): number | undefined {
  for (let at = from; at < to; at += 8) if (area.read(at) !== BigInt(at + turn)) return at;
  return undefined;
}

/** Addresses from this one on that stage 2 maps. */
function mappedFrom(scene: Scene, from: number): number[] {
  const found: number[] = [];
  for (const { ipa } of scene.vm.stage2.leaves()) if (ipa >= from) found.push(ipa);
  return found;
}
