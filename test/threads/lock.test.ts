/** The mmu_lock between real threads: it excludes, it is refused where it would wait for itself, and nobody waits for ever. */
import { describe, expect, it } from "vitest";
import { errorOf } from "../support.ts";
import { crew } from "./support.ts";

describe("the lock", () => {
  const here = crew();

  it("lets one writer in at a time, and no reader beside it", async () => {
    const times = 20_000;
    const threads = [await here.hire(), await here.hire(), await here.hire()];
    const reading = threads[2]!.ask("loop", "read");
    await here.running(1);
    await Promise.all(threads.slice(0, 2).map((thread) => thread.do("loop", "write", times)));
    here.stop();
    expect(await reading).toMatchObject({ value: expect.any(Number) as number });
    expect(here.count("COUNT")).toBe(2 * times);
    expect(here.count("BROKEN")).toBe(0);
  });

  it("lets readers of several threads in together", async () => {
    const [one, two] = [await here.hire(), await here.hire()];
    const { mmuLock } = here.s2;
    await one.do("lock", "acquireRead");
    await two.do("lock", "acquireRead");
    expect(mmuLock.read(() => mmuLock.holder)).toBe("read");
    expect(mmuLock.tryWrite()).toBe(false);
    const sides = here.engine.threads().map(({ lock }) => lock?.side);
    expect(sides).toEqual([undefined, "read", "read"]);
    await one.do("lock", "releaseRead");
    await two.do("lock", "releaseRead");
    expect(mmuLock.tryWrite()).toBe(true);
    mmuLock.releaseWrite();
  });

  it("names the writer that a reader waits for in vain", async () => {
    const one = await here.hire();
    const { mmuLock } = here.s2;
    await one.do("lock", "acquireWrite");
    expect(mmuLock.writer).toBe(one.number);
    expect([mmuLock.tryRead(), mmuLock.tryWrite()]).toEqual([false, false]);
    for (const acquire of ["acquireRead", "acquireWrite"] as const) {
      const error = errorOf(() => mmuLock[acquire]());
      expect(error.code).toBe("ETIMEDOUT");
      expect(error.errno).toBe(110);
      expect(error.details).toMatchObject({
        thread: one.number,
        waitingFor: "write side",
        patience: 400,
      });
      expect(error.message).toContain(
        `thread ${one.number} did not release the write side of the mmu_lock within 400 ms; nothing was done`,
      );
    }
    await one.do("lock", "releaseWrite");
    mmuLock.write(() => expect(mmuLock.writer).toBe(here.engine.thread));
    expect(mmuLock.writer).toBeUndefined();
  });

  it("names a reader that a writer waits for in vain, and lets new readers in again", async () => {
    const one = await here.hire();
    const { mmuLock } = here.s2;
    await one.do("lock", "acquireRead");
    const error = errorOf(() => mmuLock.acquireWrite());
    expect(error.details).toMatchObject({ thread: one.number, waitingFor: "read side" });
    expect([mmuLock.holder, mmuLock.writer]).toEqual([undefined, undefined]);
    mmuLock.read(() => {});
    await one.do("lock", "releaseRead");
    mmuLock.write(() => {});
  });

  it("goes from hand to hand when it is released in time", async () => {
    const one = await here.hire(5000);
    const { mmuLock } = here.s2;
    mmuLock.acquireWrite();
    const waiting = one.ask("lock", "acquireRead");
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(mmuLock.writer).toBe(here.engine.thread);
    mmuLock.releaseWrite();
    expect(await waiting).toEqual({ value: undefined });
    expect(mmuLock.tryWrite()).toBe(false);
    await one.do("lock", "releaseRead");
  });

  it("is refused to a thread that has one: recursion, upgrade, a second table", () => {
    const { mmuLock } = here.s2;
    const other = here.engine.stage2();
    const { vmid } = here.s2;
    for (const side of ["read", "write"] as const) {
      mmuLock[side](() => {
        for (const lock of [mmuLock, other.mmuLock]) {
          for (const call of ["acquireRead", "acquireWrite", "tryRead", "tryWrite"] as const) {
            const error = errorOf(() => lock[call]());
            expect(error, call).toMatchObject({ code: "EDEADLK", errno: 35 });
            expect(error.details).toMatchObject({ lock: vmid, side });
            expect(error.message).toContain(
              `${call}: this thread holds the ${side} side of the mmu_lock of the table with VMID ${vmid}`,
            );
          }
        }
        expect(mmuLock.holder).toBe(side);
        expect(other.mmuLock.holder).toBeUndefined();
      });
    }
    other.dispose();
  });

  it("is released by who holds it, once, on the side that is held", async () => {
    const one = await here.hire();
    const { mmuLock } = here.s2;
    const refused = (call: "releaseRead" | "releaseWrite", details: object): void => {
      const error = errorOf(() => mmuLock[call]());
      expect(error).toMatchObject({ code: "EPERM", errno: 1 });
      expect(error.message).toContain("this thread does not hold the");
      expect(error.details).toMatchObject(details);
    };
    refused("releaseRead", {});
    refused("releaseWrite", {});
    mmuLock.acquireRead();
    refused("releaseWrite", { holder: "read" });
    mmuLock.releaseRead();
    refused("releaseRead", {});
    await one.do("lock", "acquireWrite");
    refused("releaseWrite", { writer: one.number });
    expect(mmuLock.writer).toBe(one.number);
    await one.do("lock", "releaseWrite");
    expect((await one.ask("lock", "releaseWrite")).error?.code).toBe("EPERM");
  });

  it("is released when the work throws, and the error is the work's", () => {
    const { mmuLock } = here.s2;
    const broken = new Error("broken");
    for (const side of ["read", "write"] as const) {
      expect(() =>
        mmuLock[side](() => {
          throw broken;
        }),
      ).toThrow(broken);
      expect(mmuLock.holder).toBeUndefined();
    }
    expect(mmuLock.write(() => 42)).toBe(42);
  });

  it("refuses work that is none, or not done when it returns", () => {
    const { mmuLock } = here.s2;
    expect(errorOf(() => mmuLock.read(7 as never)).code).toBe("BAD_OPTION");
    expect(errorOf(() => mmuLock.write(async () => {})).code).toBe("BAD_OPTION");
    expect(mmuLock.holder).toBeUndefined();
  });

  it("does not leave a rejection behind that nobody handles", async () => {
    const unhandled: unknown[] = [];
    const hear = (reason: unknown): void => void unhandled.push(reason);
    const others = process.listeners("unhandledRejection");
    process.removeAllListeners("unhandledRejection").on("unhandledRejection", hear);
    try {
      const late = here.s2.mmuLock.write.bind(here.s2.mmuLock, () =>
        Promise.reject(new Error("unheard")),
      );
      expect(errorOf(late).code).toBe("BAD_OPTION");
      await new Promise((resolve) => setTimeout(resolve, 10));
      expect(unhandled).toEqual([]);
    } finally {
      process.off("unhandledRejection", hear);
      for (const listener of others) process.on("unhandledRejection", listener);
    }
  });

  it("is neither taken along nor left behind by dispose", async () => {
    const { engine, s2 } = here;
    const one = await here.hire();
    await one.do("lock", "acquireRead");
    expect((await one.ask("engine", "dispose")).error?.code).toBe("EDEADLK");
    expect((await one.ask("s2", "dispose")).error?.code).toBe("EDEADLK");
    await one.do("lock", "releaseRead");
    s2.mmuLock.write(() => {
      expect(errorOf(() => s2.dispose()).code).toBe("EDEADLK");
      expect(errorOf(() => engine.dispose()).code).toBe("EDEADLK");
    });
    expect(s2.lookup(0)).toBeUndefined(); // neither was disposed
    await one.do("engine", "dispose");
  });
});
