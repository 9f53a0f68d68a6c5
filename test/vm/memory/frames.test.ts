/** Frames: taken one by one from below, in rows from above, and given back. */
import { describe, expect, it } from "vitest";
import { Frames } from "../../../src/vm/memory/_frames.ts";
import { State } from "../../../src/vm/memory/_layout.ts";

const SHAPE = { pageShift: 12, pages: 512, areas: 1, pointer: undefined };

function state(frames: number, base = 0): State {
  return State.create({ ...SHAPE, frames, pa: base * 4096 }, false);
}

describe("frames", () => {
  it("are each taken once, all of them, whatever the first one's number", () => {
    for (const base of [0, 5, 31]) {
      const frames = new Frames(state(70, base));
      const taken = Array.from({ length: 70 }, () => frames.take());
      expect(taken).toEqual(Array.from({ length: 70 }, (_, n) => n));
      expect(frames.take()).toBe(-1);
      frames.give(13);
      frames.give(40, 27);
      const again = Array.from({ length: 28 }, () => frames.take());
      expect(again).toEqual([13, ...Array.from({ length: 27 }, (_, n) => 40 + n)]);
    }
  });

  it("in a row are aligned and found as long as there are any", () => {
    const frames = new Frames(state(512, 7));
    const rows = Array.from({ length: 7 }, () => frames.takeRun(64));
    expect(rows.every((first) => (first + 7) % 64 === 0)).toBe(true);
    expect(new Set(rows).size).toBe(7);
    expect(frames.takeRun(64)).toBe(-1);
    frames.give(rows[3] as number, 64);
    expect(frames.takeRun(16)).toBeGreaterThanOrEqual(0);
    expect(frames.takeRun(64)).toBe(-1);
  });

  it("of a row that another thread cuts into while it is taken go back", () => {
    const real = state(128);
    const frames = new Frames(real);
    const other = new Frames(real);
    for (let n = 0; n < 97; n++) other.take();
    other.give(0, 96); // one frame in the last word is taken
    const stale = Object.create(real, { load: { value: () => 0 } }) as State; // as it was looked at before that
    expect(new Frames(stale).takeRun(128)).toBe(-1);
    expect(real.counter("framesUsed")).toBe(1);
    expect(frames.takeRun(64)).toBe(0);
    expect(frames.takeRun(32)).toBe(64);
  });

  it("are clean when they come back", () => {
    const frames = new Frames(state(64));
    const first = frames.takeRun(32);
    frames.mark("dirty", first + 31);
    frames.mark("accessed", first);
    expect(frames.marked("dirty", first + 31)).toBe(true);
    expect(frames.marked("dirty", first + 30)).toBe(false);
    frames.give(first, 32);
    expect(frames.marked("dirty", first + 31)).toBe(false);
    expect(frames.marked("accessed", first)).toBe(false);
  });

  it("that are retired stay taken", () => {
    const real = state(4);
    const frames = new Frames(real);
    frames.retire(frames.take(), 1);
    expect([frames.take(), frames.take(), frames.take(), frames.take()]).toEqual([1, 2, 3, -1]);
    expect([real.counter("framesUsed"), real.counter("framesPoisoned")]).toEqual([3, 1]);
  });

  it("of the page of zeros is one, cleared before anybody knows it", () => {
    const real = state(4);
    const cleared: number[] = [];
    const [one, two] = [new Frames(real), new Frames(real)];
    const clear = (frame: number): void => void cleared.push(frame);
    const late = (frame: number): void => {
      clear(frame);
      two.zero(clear); // another thread is faster
    };
    expect(one.zero(late)).toBe(1);
    expect(two.zero(clear)).toBe(1);
    expect(cleared).toEqual([0, 1]);
    expect(real.counter("framesUsed")).toBe(0);
    expect(one.take()).toBe(0); // what the loser had goes back
  });
});
