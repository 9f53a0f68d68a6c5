/** Operations under a lock of the caller's: what is refused with two threads is refused with one. */
import { describe, expect, it } from "vitest";
import {
  Engine,
  type Generation,
  type LockSide,
  type PkvmStage2,
  Prot,
  WalkFlag,
} from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import { MEMORY, PAGE, RAM } from "../support.ts";

const IPA = 0x4000_0000;
const range = { ipa: IPA, size: PAGE };
const request = { ...range, pa: RAM, prot: Prot.RW };

/** Each operation once, on a page that is mapped before it if it needs one. */
const OPERATIONS: readonly [name: string, run: (s2: PkvmStage2) => unknown][] = [
  ["map", (s2) => s2.map(request)],
  ["map beside others", (s2) => s2.map({ ...request, flags: WalkFlag.SHARED })],
  ["unmap", (s2) => s2.unmap(range)],
  ["wrprotect", (s2) => s2.wrprotect(range)],
  ["flush", (s2) => s2.flush(range)],
  ["testClearYoung", (s2) => s2.testClearYoung(range)],
  ["relaxPerms", (s2) => s2.relaxPerms({ ipa: IPA, prot: Prot.X })],
  ["mkyoung", (s2) => s2.mkyoung(IPA)],
  ["tlbFlushRange", (s2) => s2.tlbFlushRange(range)],
];

const answer = (action: () => unknown): unknown => {
  try {
    return action() ?? "done";
  } catch (error) {
    return (error as { code: string }).code;
  }
};

/** What all operations answer under a side of a lock, in an engine that has one thread, or more. */
async function answers(
  mode: "threads" | "single",
  generation: Generation,
  [side, whose]: readonly [LockSide, "own" | "other"],
  shared: boolean,
): Promise<unknown[]> {
  using engine = await Engine.create({ maxTablePages: 2048, maxThreads: 2, mode });
  if (shared) (await Engine.attach(engine.handle)).dispose();
  using pkvm = engine.pkvm({ memory: MEMORY, generation });
  using s2 = pkvm.stage2();
  using plain = engine.stage2();
  const { mmuLock } = whose === "own" ? s2 : plain;
  return OPERATIONS.map(([name, run]) => {
    s2.unmap(range);
    if (!name.startsWith("map")) s2.map(request);
    return [name, answer(() => mmuLock[side](() => run(s2)))];
  });
}

const HELD = [
  ["read", "own"],
  ["write", "own"],
  ["read", "other"],
  ["write", "other"],
] as const;

describe.each(["seed", "default", "newest"] as const)("under a lock (%s)", (generation) => {
  it.each(HELD)("%s side, %s table: one thread is answered as two are", async (...held) => {
    const two = await answers("threads", generation, held, true);
    expect(await answers("threads", generation, held, false)).toEqual(two);
    expect(await answers("single", generation, held, false)).toEqual(two);
  });
});

describe.each(MODES)("a guest's operations under a lock (%s)", (mode) => {
  const codes = async (generation: Generation, side: LockSide): Promise<unknown[]> => {
    const all = await answers(mode, generation, [side, "own"], false);
    return (all as [string, unknown][])
      .filter(([, code]) => code === "EDEADLK")
      .map(([name]) => name);
  };

  it("do with the write side", async () => {
    expect(await codes("default", "write")).toEqual([]);
  });

  it("want more than the read side, but for what changes one leaf", async () => {
    const writers = ["unmap", "wrprotect", "flush", "testClearYoung"];
    expect(await codes("default", "read")).toEqual(["map", "map beside others", ...writers]);
    expect(await codes("seed", "read")).toEqual(["map", ...writers]);
  });

  it("are refused by name", async () => {
    using engine = await Engine.create({ maxTablePages: 2048, maxThreads: 2, mode });
    using pkvm = engine.pkvm({ memory: MEMORY });
    using s2 = pkvm.stage2();
    const error = errorOf(() => s2.mmuLock.read(() => s2.map(request)));
    expect(error.message).toMatch(/^map: this thread holds the read side of the mmu_lock/);
    expect(error.details).toMatchObject({ side: "read", lock: s2.vmid, ipa: IPA });
    expect([...s2.mappings()]).toEqual([]);
    expect(s2.mmuLock.read(() => s2.raw.map(IPA, PAGE, RAM, Prot.RW))).toBe(-35);
    expect(s2.mmuLock.holder).toBeUndefined();
  });
});
