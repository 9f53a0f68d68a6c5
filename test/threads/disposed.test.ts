/** Tables that come to their end while threads hold their lock or wait for it. */
import { describe, expect, it } from "vitest";
import { Engine, Prot, type Stage2 } from "../../src/index.ts";
import { errorOf, rejectionOf } from "../support.ts";
import { IPA, PAGE, RAM, crew } from "./support.ts";

const RANGE = { ipa: IPA, size: PAGE };
const MAP = { ...RANGE, pa: RAM.pa, prot: Prot.RW };
const SIDES = ["Read", "Write"] as const;

/** Destroys a table without asking who holds its lock, as nobody can who uses the API. */
function destroy({ context, pointer }: Stage2): void {
  expect(context.core.pgt_destroy(pointer)).toBe(0);
  context.core.pgt_release(pointer);
}

describe.each([false, true])("a table that is disposed (locking: %s)", (locking) => {
  const here = crew({ table: { locking }, patience: 60 });

  it.each(SIDES)(
    "while another thread holds its lock stays until that is left (%s)",
    async (side) => {
      const { engine, s2 } = here;
      s2.map(MAP);
      const one = await here.hire();
      await one.do("lock", `acquire${side}`);
      const owner = engine.attachStage2(s2.handle, { own: true });
      const error = errorOf(() => owner.dispose());
      expect(error).toMatchObject({ code: "ETIMEDOUT", errno: 110 });
      expect(error.details).toMatchObject({
        thread: one.number,
        waitingFor: `${side.toLowerCase()} side`,
      });
      expect(error.message).toContain("nothing was done");
      expect(s2.lookup(IPA)).toBe(RAM.pa);
      await one.do("lock", `release${side}`);
      owner.dispose();
      expect((await one.ask("s2", "lookup", IPA)).error?.code).toBe("DISPOSED");
      expect((await one.ask("lock", `release${side}`)).error?.code).toBe("DISPOSED");
      expect((await one.ask("engine", "dispose")).error).toBeUndefined();
    },
  );
});

describe("a lock whose table is gone", () => {
  const here = crew({ patience: 60 });

  it.each(SIDES)("is released all the same (%s)", (side) => {
    const { engine } = here;
    for (const take of [`acquire${side}`, `try${side}`] as const) {
      const gone = engine.stage2();
      const { mmuLock } = engine.attachStage2(gone.handle);
      mmuLock[take]();
      destroy(gone);
      expect(engine.threads()[0]?.lock?.side).toBe(side.toLowerCase());
      mmuLock[`release${side}`]();
      expect(engine.threads()[0]?.lock).toBeUndefined();
      expect(errorOf(() => mmuLock[`release${side}`]()).code).toBe("DISPOSED");
    }
  });

  it("is released by the work that it was held for", async () => {
    const { engine } = here;
    for (const call of ["read", "write", "readAsync", "writeAsync"] as const) {
      const gone = engine.stage2();
      await engine.attachStage2(gone.handle).mmuLock[call](() => destroy(gone));
      expect(engine.threads()[0]?.lock, call).toBeUndefined();
    }
    here.s2.mmuLock.write(() => here.s2.map(MAP));
  });
});

describe("who waits for the lock of a table that is disposed meanwhile", () => {
  const here = crew({ table: { locking: true }, patience: 10_000 });

  it.each([
    ["lock", "acquireRead", []],
    ["lock", "acquireWrite", []],
    ["s2", "mkyoung", [IPA]],
    ["s2", "unmap", [RANGE]],
  ] as const)("is told, and does nothing in the next one (%s.%s)", async (on, method, args) => {
    const { engine, s2 } = here;
    const one = await here.hire();
    s2.mmuLock.acquireWrite();
    const answer = one.ask(on, method, ...args);
    const reads = method === "acquireRead" || method === "mkyoung";
    if (reads) while (!engine.threads()[1]?.lock) await new Promise(setImmediate);
    else await new Promise((resolve) => setTimeout(resolve, 30)); // a writer behind a writer shows nowhere
    destroy(s2);
    const next = engine.stage2({ locking: true });
    expect(next.pointer).toBe(s2.pointer);
    s2.mmuLock.releaseWrite();
    next.map(MAP);
    const { error } = await answer;
    expect(error?.code).toBe("DISPOSED");
    const told = `${method}: the page table was disposed while this waited for its lock`;
    if (reads) expect(error?.message).toContain(told); // a writer may not have come to the lock yet
    expect(next.lookup(IPA)).toBe(RAM.pa);
    expect(engine.threads()[1]?.lock).toBeUndefined();
    next.mmuLock.write(() => {});
    next.dispose();
  });

  it.each(["readAsync", "writeAsync"] as const)("without blocking too (%s)", async (later) => {
    const { engine, s2 } = here;
    const other = await Engine.attach(engine.handle); // a thread as any
    const theirs = other.attachStage2(s2.handle);
    theirs.mmuLock.acquireWrite();
    let done = false;
    const waiting = rejectionOf(s2.mmuLock[later](() => (done = true)));
    await new Promise((resolve) => setTimeout(resolve, 10));
    destroy(theirs);
    const next = engine.stage2();
    theirs.mmuLock.releaseWrite();
    const error = await waiting;
    expect(error).toMatchObject({ code: "DISPOSED" });
    expect(error.message).toContain(
      `${later}: the page table was disposed while this waited for its lock`,
    );
    expect(done).toBe(false);
    expect(engine.threads()[0]?.lock).toBeUndefined();
    next.mmuLock.write(() => {});
    next.dispose();
    other.dispose();
  });

  it("has -116 from the plain calls", async () => {
    const { engine, s2 } = here;
    const one = await here.hire();
    s2.mmuLock.acquireWrite();
    const answer = one.ask("raw", "mkyoung", IPA);
    while (!engine.threads()[1]?.lock) await new Promise(setImmediate);
    destroy(s2);
    s2.mmuLock.releaseWrite();
    expect(await answer).toEqual({ value: -116 });
  });
});
