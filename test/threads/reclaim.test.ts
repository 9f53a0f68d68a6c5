/** Threads that end in the middle of something: others learn who it was, and take from it what it still has. */
import { describe, expect, it } from "vitest";
import { Prot } from "../../src/index.ts";
import { errorOf, rejectionOf } from "../support.ts";
import { IPA, PAGE, RAM, type Thread, crew } from "./support.ts";

const RANGE = { ipa: IPA, size: PAGE };
const MAP = { ...RANGE, pa: RAM.pa, prot: Prot.RW };
/** Words of a thread's slot, in bytes from its start (assembly/layout.ts). */
const SLOTS = 4096;
const SLOT = 128;
const T_HARDWARE = 32;

describe("a thread that has ended", () => {
  const here = crew({ patience: 60 });

  /** A thread that was ended where it slept. */
  async function endedIn(...calls: [on: "lock" | "vcpu", method: string][]): Promise<Thread> {
    const thread = await here.hire();
    for (const call of calls) await thread.do(...call);
    void thread.ask("loop", "park").catch(() => {});
    await here.running(1);
    await thread.kill();
    return thread;
  }

  it("keeps its slot, vCPU and cache until they are taken from it", async () => {
    const { engine } = here;
    const one = await here.hire();
    await one.kill();
    const { used } = engine.memoryUsage();
    expect(used).toBeGreaterThan(here.s2.memoryUsage().tablePages);
    expect(engine.threads()).toHaveLength(2);
    expect(engine.threads()[1]).toEqual({
      number: one.number,
      self: false,
      section: undefined,
      vcpu: undefined,
      lock: undefined,
    });
    const found = engine.reclaimThread(one.number);
    expect(found).toEqual({ section: undefined, vcpu: undefined, lock: undefined });
    expect(engine.memoryUsage().used).toBe(here.s2.memoryUsage().tablePages);
    expect(engine.threads()).toHaveLength(1);
    expect((await here.hire()).number).toBe(one.number);
  });

  it("under the read side: a writer learns who it was", async () => {
    const { engine, s2 } = here;
    const dead = await endedIn(["lock", "acquireRead"]);
    const error = errorOf(() => s2.mmuLock.acquireWrite());
    expect(error).toMatchObject({ code: "ETIMEDOUT", details: { thread: dead.number } });
    const lock = { side: "read", vmid: s2.vmid, waiting: false };
    expect(engine.reclaimThread(dead.number)).toMatchObject({ section: "walk", lock });
    s2.mmuLock.write(() => {});
  });

  it("under the write side: whoever comes learns who it was", async () => {
    const { engine, s2 } = here;
    const dead = await endedIn(["lock", "acquireWrite"]);
    for (const call of ["acquireRead", "acquireWrite"] as const) {
      const error = errorOf(() => s2.mmuLock[call]());
      expect(error.details).toMatchObject({ thread: dead.number, waitingFor: "write side" });
    }
    const later = await rejectionOf(s2.mmuLock.readAsync(() => {}));
    expect(later.details).toMatchObject({ thread: dead.number, waitingFor: "write side" });
    const lock = { side: "write", vmid: s2.vmid, waiting: false };
    expect(engine.reclaimThread(dead.number)).toMatchObject({ lock });
    expect(s2.mmuLock.writer).toBeUndefined();
    s2.mmuLock.write(() => {});
    s2.mmuLock.read(() => {});
  });

  it("waiting for the write side: readers are let in again", async () => {
    const { engine, s2 } = here;
    s2.mmuLock.acquireRead();
    const waiting = await here.hire(10_000);
    void waiting.ask("lock", "acquireWrite").catch(() => {});
    while (s2.mmuLock.writer === undefined) await new Promise(setImmediate);
    await waiting.kill();
    s2.mmuLock.releaseRead();
    expect(s2.mmuLock.tryRead()).toBe(false);
    const lock = { side: "write", vmid: s2.vmid, waiting: true };
    expect(engine.reclaimThread(waiting.number)).toMatchObject({ lock });
    s2.mmuLock.read(() => {});
    s2.mmuLock.write(() => {});
  });

  it("waiting for the read side: writers do not wait for it", async () => {
    const { engine, s2 } = here;
    s2.mmuLock.acquireWrite();
    const waiting = await here.hire(10_000);
    void waiting.ask("lock", "acquireRead").catch(() => {});
    const state = () => engine.threads()[1]?.lock;
    while (state() === undefined) await new Promise(setImmediate);
    expect(state()).toEqual({ side: "read", vmid: s2.vmid, waiting: true });
    await waiting.kill();
    s2.mmuLock.releaseWrite();
    engine.reclaimThread(waiting.number);
    for (let i = 0; i < 3; i++) s2.mmuLock.write(() => {});
    s2.mmuLock.read(() => {});
  });

  it("inside its bracket: who invalidates learns which vCPU, and has done what was asked", async () => {
    const { engine, s2 } = here;
    s2.map(MAP);
    const dead = await endedIn(["vcpu", "enter"]);
    const vcpu = engine.threads()[1]?.vcpu as number;
    expect(vcpu).toBeGreaterThan(0);
    const error = errorOf(() => s2.unmap(RANGE));
    expect(error).toMatchObject({ code: "ETIMEDOUT", errno: 110 });
    expect(error.details).toMatchObject({ ...RANGE, thread: dead.number, vcpu });
    expect(s2.lookup(IPA)).toBeUndefined();
    expect(engine.reclaimThread(dead.number)).toMatchObject({ vcpu, section: undefined });
    s2.map(MAP);
    s2.unmap(RANGE);
    engine.tlbi("VMALLS12E1", { vmid: s2.vmid });
  });

  it("inside an access of its hardware: table pages wait for it until then", async () => {
    const { engine, s2 } = here;
    const dead = await here.hire();
    await dead.kill();
    // Where a walk is cut short nobody can choose: its mark is put there by hand.
    const at = engine.handle.base + SLOTS + dead.number * SLOT + T_HARDWARE;
    Atomics.add(new Int32Array(engine.memory.buffer, at, 1), 0, 1);
    s2.map(MAP);
    const error = errorOf(() => s2.unmap(RANGE));
    expect(error.details).toMatchObject({ thread: dead.number, waitingFor: "hardware section" });
    expect(error.message).toContain("did not end an access of its hardware within 60 ms");
    const { waiting } = engine.memoryUsage();
    expect(waiting).toBeGreaterThan(0);
    const again = errorOf(() => engine.quiesce());
    expect(again).toMatchObject({ code: "ETIMEDOUT", details: { thread: dead.number } });
    expect(again.message).toContain("its table pages go on waiting");
    expect(engine.memoryUsage().waiting).toBe(waiting);
    expect(engine.reclaimThread(dead.number)).toMatchObject({ section: "hardware" });
    engine.quiesce();
    expect(engine.memoryUsage().waiting).toBe(0);
  });

  it("in the middle of work, wherever that was", async () => {
    const { engine, s2 } = here;
    for (let pages = 0; pages < 64; pages++) s2.map({ ...MAP, ipa: IPA + pages * PAGE });
    for (const loop of [
      ["walk", IPA, 64],
      ["churn", IPA, 64, RAM.pa],
      ["bracket", IPA, 1],
      ["read"],
    ] as const) {
      const before = here.count("RUNNING");
      const thread = await here.hire();
      void thread.ask("loop", ...(loop as [string])).catch(() => {});
      await here.running(before + 1);
      await thread.kill();
      engine.reclaimThread(thread.number);
      s2.mmuLock.write(() => s2.unmap({ ipa: IPA, size: 64 * PAGE }));
      for (let pages = 0; pages < 64; pages++) s2.map({ ...MAP, ipa: IPA + pages * PAGE });
      expect(engine.threads()).toHaveLength(1);
    }
  });

  it("leaves its page tables: whoever owns them then destroys them", async () => {
    const { engine } = here;
    const one = await here.hire();
    const handle = await one.do("loop", "table");
    await one.kill();
    engine.reclaimThread(one.number);
    const guest = engine.attachStage2(handle as never);
    const table = engine.attachStage2(handle as never, { own: true });
    table.map(MAP);
    const { used } = engine.memoryUsage();
    const { tablePages } = table.memoryUsage();
    guest.dispose();
    expect(engine.memoryUsage().used).toBe(used);
    table.dispose();
    expect(engine.memoryUsage().used).toBe(used - tablePages);
    expect(errorOf(() => engine.attachStage2(handle as never)).code).toBe("DISPOSED");
  });

  it("with `dispose` leaves nothing of its own: vCPUs, batches, caches", async () => {
    const { engine, s2 } = here;
    const { used } = engine.memoryUsage();
    const one = await here.hire();
    await one.do("loop", "stock", 50);
    expect(engine.memoryUsage().used).toBeGreaterThanOrEqual(used + 50);
    await one.do("engine", "dispose");
    expect(engine.memoryUsage().used).toBe(used);
    expect(used).toBe(s2.memoryUsage().tablePages);
    expect(errorOf(() => engine.reclaimThread(one.number)).code).toBe("BAD_OPTION");
  });

  it("is not this one, nor nobody", () => {
    const { engine } = here;
    for (const number of [engine.thread, 1, 3, 4, -1, 1.5, "1", undefined]) {
      expect(errorOf(() => engine.reclaimThread(number as never)).code).toBe("BAD_OPTION");
    }
    expect(errorOf(() => engine.reclaimThread(engine.thread)).message).toContain("itself");
    expect(errorOf(() => engine.reclaimThread(1)).message).toContain("no thread has this number");
  });
});
