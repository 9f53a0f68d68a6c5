/** What threads do beside each other in places of their own moves no cache line between them. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Access, Prot, type Vcpu, WalkFlag } from "../../src/index.ts";
import { Lines, type Side } from "./lines.ts";

const IPA = 0x1_0000_0000;
const BLOCK = 2 ** 21;
const PAGE = 4096;
const TURNS = 200;
const FAULT = WalkFlag.SHARED | WalkFlag.HANDLE_FAULT;

/** Each thread has 2 MiB: a table of its own. Their pages in turns. */
const own = (thread: number, turn: number): number => IPA + thread * BLOCK + turn * PAGE;
const map = ({ s2 }: Side, ipa: number): void =>
  expect(s2.raw.map(ipa, PAGE, ipa, Prot.RW, FAULT)).toBe(0);

let lines: Lines;
beforeEach(() => (lines = new Lines()));
afterEach(() => lines.dispose());

/** Maps what `operation` then uses. */
function mapped(): void {
  for (const [thread, side] of lines.sides.entries()) {
    for (let turn = 0; turn < TURNS + 8; turn++) map(side, own(thread, turn));
  }
}

/** A vCPU for each thread. */
function vcpus(tlb: boolean): Vcpu[] {
  return lines.sides.map(({ engine, s2 }) =>
    engine.vcpu(s2, { tlb: tlb ? { sets: 16, ways: 4 } : false }),
  );
}

describe("no line moves between threads", () => {
  it("when each maps pages into a table of its own", () => {
    expect(lines.moves(TURNS, (side, thread, turn) => map(side, own(thread, turn)))).toBe(0);
  });

  it("when each makes its own leaves young, and relaxes them", () => {
    mapped();
    const moves = lines.moves(TURNS, ({ s2 }, thread, turn) => {
      s2.raw.mkyoung(own(thread, turn));
      s2.raw.relaxPerms(own(thread, turn), Prot.X);
    });
    expect(moves).toBe(0);
  });

  it("when both take the read side", () => {
    const moves = lines.moves(TURNS, ({ s2 }) => {
      s2.mmuLock.acquireRead();
      s2.mmuLock.releaseRead();
    });
    expect(moves).toBe(0);
  });

  it.each([true, false])("when both translate (TLB: %s)", (tlb) => {
    mapped();
    const cpus = vcpus(tlb);
    const translate = (_: Side, thread: number, turn: number) =>
      (cpus[thread] as Vcpu).translate(own(thread, turn), Access.Read);
    lines.moves(TURNS, translate);
    expect(lines.moves(TURNS, translate)).toBe(0);
    for (const cpu of cpus) cpu.dispose();
  });

  it("when both enter and exit", () => {
    const cpus = vcpus(true);
    const moves = lines.moves(TURNS, (_, thread) => {
      (cpus[thread] as Vcpu).enter();
      (cpus[thread] as Vcpu).exit();
    });
    expect(moves).toBe(0);
    for (const cpu of cpus) cpu.dispose();
  });
});

describe("lines move where threads meet", () => {
  it("when both take the write side: the lock, and what says that nobody reads", () => {
    const moves = lines.moves(TURNS, ({ s2 }) => {
      s2.mmuLock.acquireWrite();
      s2.mmuLock.releaseWrite();
    });
    expect(moves).toBeGreaterThan(0);
    expect(moves).toBeLessThanOrEqual(4);
  });

  it("when one uses what the other maps", () => {
    const moves = lines.moves(TURNS, ({ s2 }, thread, turn) => {
      if (thread === 0) map(lines.sides[0], own(0, turn));
      else expect(s2.raw.mkyoung(own(0, turn))).toBe(1);
    });
    expect(moves).toBeGreaterThan(0);
  });
});
