/** The mmu_lock for a thread that may not block, as the main thread of a page: it waits without blocking, for as long as it is told. */
import { beforeEach, describe, expect, it } from "vitest";
import { Prot } from "../../src/index.ts";
import { errorOf, rejectionOf } from "../support.ts";
import { IPA, PAGE, RAM, crew } from "./support.ts";

/** What `promise` came to by now, if anything. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol("pending");
  const later = new Promise((resolve) => setTimeout(resolve, 20, pending));
  return (await Promise.race([promise.catch(() => {}), later])) !== pending;
}

describe("a thread that may not block", () => {
  const here = crew({ patience: 400, table: { locking: true } });

  beforeEach(() => here.engine.core.thread_configure(0, 10, 400));

  it("is told so where it would have to, and what to use", async () => {
    const one = await here.hire();
    await one.do("lock", "acquireWrite");
    const { s2 } = here;
    const page = { ipa: IPA, size: PAGE, pa: RAM.pa, prot: Prot.RW };
    const calls = [() => s2.mmuLock.read(() => {}), () => s2.map(page), () => s2.unmap(page)];
    for (const call of calls) {
      const error = errorOf(call);
      expect(error).toMatchObject({ code: "EBUSY", errno: 16 });
      expect(error.message).toContain("this thread may not block: use readAsync or writeAsync");
    }
    expect(s2.mmuLock.tryRead()).toBe(false);
    await one.do("lock", "releaseWrite");
    expect(s2.map(page)).toBe("ok");
  });

  it.each(["readAsync", "writeAsync"] as const)("gets the lock by %s", async (later) => {
    const one = await here.hire();
    const { mmuLock } = here.s2;
    const side = later === "readAsync" ? "read" : "write";
    expect(await mmuLock[later](() => mmuLock.holder)).toBe(side);
    await one.do("lock", "acquireWrite");
    const waiting = mmuLock[later](() => mmuLock.holder);
    expect(await settled(waiting)).toBe(false);
    await one.do("lock", "releaseWrite");
    expect(await waiting).toBe(side);
    expect(mmuLock.holder).toBeUndefined();
    await one.do("lock", "acquireWrite");
    await one.do("lock", "releaseWrite");
  });

  it("keeps new readers out while it waits for those inside to leave", async () => {
    const [one, two] = [await here.hire(), await here.hire()];
    const { mmuLock } = here.s2;
    await one.do("lock", "acquireRead");
    const waiting = mmuLock.writeAsync(() => "done");
    expect(await settled(waiting)).toBe(false);
    expect(mmuLock.writer).toBe(here.engine.thread);
    expect(here.engine.threads()[0]).toMatchObject({ self: true, lock: { waiting: true } });
    expect(await two.do("lock", "tryRead")).toBe(false);
    expect(errorOf(() => mmuLock.tryRead())).toMatchObject({ code: "EDEADLK" });
    expect(errorOf(() => here.engine.dispose()).message).toContain(
      `waits for the write side of the mmu_lock of the table with VMID ${here.s2.vmid}`,
    );
    await one.do("lock", "releaseRead");
    expect(await waiting).toBe("done");
    expect(await two.do("lock", "tryRead")).toBe(true);
    await two.do("lock", "releaseRead");
  });

  it("is told who did not release it in time", async () => {
    const one = await here.hire();
    const { mmuLock } = here.s2;
    for (const [acquire, release, waitingFor] of [
      ["acquireRead", "releaseRead", "read side"],
      ["acquireWrite", "releaseWrite", "write side"],
    ] as const) {
      await one.do("lock", acquire);
      const error = await rejectionOf(mmuLock.writeAsync(() => {}, { timeout: 30 }));
      expect(error).toMatchObject({ code: "ETIMEDOUT", errno: 110 });
      expect(error.details).toMatchObject({ thread: one.number, waitingFor, patience: 30 });
      expect(mmuLock.holder).toBeUndefined();
      expect(here.engine.threads()[0]?.lock).toBeUndefined();
      await one.do("lock", release);
    }
    expect(await mmuLock.writeAsync(() => 1, { timeout: 0 })).toBe(1);
  });

  it("can be called off", async () => {
    const one = await here.hire();
    const { mmuLock } = here.s2;
    const reason = new Error("enough");
    await expect(mmuLock.readAsync(() => {}, { signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
    await one.do("lock", "acquireRead");
    const [first, second] = [new AbortController(), new AbortController()];
    const waiting = mmuLock.writeAsync(() => {}, { signal: first.signal });
    const behind = mmuLock.writeAsync(() => {}, { signal: second.signal });
    expect(await settled(waiting)).toBe(false);
    second.abort(reason); // while it waits for its turn
    await expect(behind).rejects.toBe(reason);
    first.abort(reason); // while it has claimed the write side
    await expect(waiting).rejects.toBe(reason);
    expect(mmuLock.writer).toBeUndefined();
    expect(await mmuLock.readAsync(() => "in")).toBe("in");
    await one.do("lock", "releaseRead");
  });

  it("passes its turn on when it is called off just as it comes", async () => {
    const { mmuLock } = here.s2;
    const [reason, control] = [new Error("enough"), new AbortController()];
    const first = mmuLock.writeAsync(() => {
      queueMicrotask(() => control.abort(reason)); // heard after the first has given its turn to the second
      return "first";
    });
    const second = mmuLock.writeAsync(() => "second", { signal: control.signal });
    const third = mmuLock.writeAsync(() => "third");
    expect(await first).toBe("first");
    await expect(second).rejects.toBe(reason);
    expect(await third).toBe("third");
    expect(await mmuLock.readAsync(() => mmuLock.holder)).toBe("read");
  });

  it("makes its requests one after the other, of whatever lock", async () => {
    const one = await here.hire();
    const { mmuLock } = here.s2;
    const other = here.engine.stage2();
    const order: string[] = [];
    await one.do("lock", "acquireWrite");
    const all = [
      mmuLock.writeAsync(() => order.push("first")),
      other.mmuLock.writeAsync(() => order.push("second")),
      mmuLock.readAsync(() => order.push("third")),
    ];
    const hasty = await rejectionOf(other.mmuLock.readAsync(() => {}, { timeout: 20 }));
    expect(hasty.message).toContain("an earlier request of this thread");
    expect(order).toEqual([]);
    await one.do("lock", "releaseWrite");
    await Promise.all(all);
    expect(order).toEqual(["first", "second", "third"]);
    other.dispose();
  });

  it("hears of an error of the work, and has released the lock", async () => {
    const { mmuLock } = here.s2;
    const broken = new Error("broken");
    const failing = mmuLock.writeAsync(() => {
      throw broken;
    });
    await expect(failing).rejects.toBe(broken);
    expect(mmuLock.holder).toBeUndefined();
    const unfinished = await rejectionOf(mmuLock.writeAsync(async () => {}));
    expect(unfinished.code).toBe("BAD_OPTION");
    expect(unfinished.message).toContain("must be synchronous");
    expect(mmuLock.holder).toBeUndefined();
  });

  it("is refused what would wait for itself", async () => {
    const { mmuLock } = here.s2;
    mmuLock.acquireRead();
    for (const later of ["readAsync", "writeAsync"] as const) {
      const error = await rejectionOf(mmuLock[later](() => {}));
      expect(error).toMatchObject({ code: "EDEADLK", details: { side: "read" } });
    }
    mmuLock.releaseRead();
  });

  it("is refused bad options, and to dispose what it waits for", async () => {
    const one = await here.hire();
    const { mmuLock } = here.s2;
    const bad = [{ timeout: -1 }, { timeout: 1e9 }, { signal: {} }, { patience: 5 }, null];
    for (const options of bad as object[]) {
      expect((await rejectionOf(mmuLock.readAsync(() => {}, options))).code).toBe("BAD_OPTION");
    }
    expect((await rejectionOf(mmuLock.readAsync(7 as never))).code).toBe("BAD_OPTION");
    await one.do("lock", "acquireWrite");
    const attached = here.engine.attachStage2(here.s2.handle);
    const waiting = attached.mmuLock.readAsync(() => {});
    expect(await settled(waiting)).toBe(false);
    for (const object of [attached, here.engine]) {
      const error = errorOf(() => object.dispose());
      expect(error).toMatchObject({ code: "EDEADLK", details: { side: "read" } });
      expect(error.message).toContain("waits for the read side of the mmu_lock");
    }
    await one.do("lock", "releaseWrite");
    await waiting;
    attached.dispose();
  });
});
