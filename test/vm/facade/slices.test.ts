import { describe, expect, it } from "vitest";
import { Engine, MemslotFlag, type Progress, type Vm } from "../../../src/index.ts";
import { MODES, errorOf, lab, rejectionOf } from "../../support.ts";
import { HVA, IPA, PAGE, WITH_RAM, dataAbort, page, scene } from "./support.ts";

const GIB = 2 ** 30;
const SLOT = { slot: 0, ipa: IPA, size: 8 * GIB, hva: HVA };
const LOG = MemslotFlag.LOG_DIRTY_PAGES;

/** A VM with 8 GiB, of which some pages of each GiB are mapped. */
function large(here: ReturnType<typeof lab>, flags = 0) {
  const at = scene(here, { vmEvents: ["range", "slot"] }, 0);
  at.vm.setMemslot({ ...SLOT, flags });
  for (let gib = 0; gib < 8; gib++) {
    for (const offset of [0, PAGE, GIB - PAGE]) touch(at, gib * GIB + offset);
  }
  here.engine.events.clear();
  return at;
}

function touch({ vcpu }: ReturnType<typeof scene>, offset: number): void {
  vcpu.handleAbort(dataAbort(IPA + offset, { size: 4, write: true }));
}

const kinds = (here: ReturnType<typeof lab>) =>
  [...here.engine.events.drain()].map((event) => event.kind);

/** Aborts after so many reports. */
function abortAfter(reports: number): {
  options: { signal: AbortSignal; onProgress: () => void };
  reason: Error;
} {
  const control = new AbortController();
  const reason = new Error("that is enough");
  const onProgress = (): void => {
    if (--reports === 0) control.abort(reason);
  };
  return { options: { signal: control.signal, onProgress }, reason };
}

describe.each(MODES)("operations in slices (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("do the same as at once, and report each piece", async () => {
    const { vm } = large(here);
    const reports: Progress[] = [];
    const onProgress = (progress: Progress) => void reports.push(progress);
    await vm.wrprotectRangeAsync({ ipa: IPA, size: 8 * GIB }, { onProgress });
    expect(reports.map(({ done }) => done / GIB)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(reports.every(({ phase, size }) => phase === "protect" && size === 8 * GIB)).toBe(true);
    expect([...vm.stage2.leaves()].every(({ prot }) => (prot & 2) === 0)).toBe(true);
    await vm.unmapRangeAsync({ ipa: IPA, size: 8 * GIB });
    expect(vm.stage2.counters().leafCount).toBe(0);
    expect(kinds(here)).toEqual([
      ...Array<string>(8).fill("wrprotect"),
      ...Array<string>(8).fill("unmap"),
    ]);
  });

  it("end between two pieces when the signal says so", async () => {
    const { vm } = large(here);
    const { options, reason } = abortAfter(3);
    const work = vm.unmapRangeAsync({ ipa: IPA, size: 8 * GIB }, options);
    await expect(work).rejects.toBe(reason);
    expect(vm.stage2.counters().leafCount).toBe(15);
    vm.unmapRange({ ipa: IPA, size: 8 * GIB });
    expect(vm.stage2.counters().leafCount).toBe(0);
  });

  it("do nothing for a signal that was aborted before", async () => {
    const { vm } = large(here);
    const signal = AbortSignal.abort(new Error("never"));
    await expect(vm.unmapAllAsync({ signal })).rejects.toThrow("never");
    await expect(vm.setMemslotAsync({ ...SLOT, size: 0 }, { signal })).rejects.toThrow("never");
    await expect(vm.invalidateStartAsync({ hva: HVA, size: PAGE }, { signal })).rejects.toThrow(
      "never",
    );
    expect(vm.stage2.counters().leafCount).toBe(24);
    expect(vm.state).toMatchObject({ active: 0, inProgress: 0 });
  });

  it("end with what a report throws", async () => {
    const { vm } = large(here);
    const onProgress = () => {
      throw new Error("no more news");
    };
    await expect(vm.unmapRangeAsync(SLOT, { onProgress })).rejects.toThrow("no more news");
    expect(vm.stage2.counters().leafCount).toBe(21);
  });

  it("let other tasks of the thread run", async () => {
    const { vm } = large(here);
    let tasks = 0;
    const timer = setInterval(() => tasks++, 0);
    await Promise.all(Array.from({ length: 64 }, () => vm.flushRangeAsync(SLOT)));
    for (let rounds = 0; tasks === 0; rounds++) {
      await vm.flushRangeAsync(SLOT); // each begins in a task of its own
      expect(rounds).toBeLessThan(100_000);
    }
    clearInterval(timer);
  });

  it("refuse options that are none", async () => {
    const { vm } = large(here);
    for (const options of [{ signal: 1 }, { onProgress: 1 }, { sginal: undefined }, null]) {
      const bad = options as never;
      for (const work of [
        () => vm.unmapRangeAsync(SLOT, bad),
        () => vm.setMemslotAsync({ ...SLOT, size: 0 }, bad),
        () => vm.invalidateAsync({ hva: HVA, size: 1 }, () => {}, bad),
        () => vm.clearDirtyLogAsync(0, { firstPage: 0, pages: 0, bitmap: new Uint8Array() }, bad),
      ]) {
        const promise = (async () => work())();
        expect((await rejectionOf(promise)).code).toBe("BAD_OPTION");
      }
    }
    expect(vm.stage2.counters().leafCount).toBe(24);
  });
});

describe.each(MODES)("changes of memslots in slices (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it.each(["delete", "move"] as const)(
    "an aborted %s leaves the slot valid and what is left mapped",
    async (change) => {
      const at = large(here);
      const wanted = change === "delete" ? { ...SLOT, size: 0 } : { ...SLOT, ipa: IPA + 16 * GIB };
      const { options, reason } = abortAfter(3);
      await expect(at.vm.setMemslotAsync(wanted, options)).rejects.toBe(reason);
      expect(at.vm.memslots()).toMatchObject([{ ...SLOT, invalid: false }]);
      expect(at.vm.stage2.counters().leafCount).toBe(15);
      touch(at, 0);
      expect(at.vm.stage2.counters().leafCount).toBe(16);
      expect(at.vm.setMemslot(wanted)).toBe(change);
    },
  );

  it("while it is being deleted the slot is not there for guests, and the VM goes on", async () => {
    const { vm, vcpu } = large(here);
    const seen: string[] = [];
    const onProgress = () => {
      seen.push(vcpu.handleAbort(dataAbort(IPA, { size: 4 })).reason);
      vm.invalidate({ hva: HVA, size: PAGE }, () => {});
      expect(vm.memslot(0)?.invalid).toBe(true);
      expect(errorOf(() => vm.setMemslot({ slot: 1, ipa: 0, size: PAGE, hva: 0 })).code).toBe(
        "EDEADLK",
      );
      expect(errorOf(() => vm.getDirtyLog(0)).code).toBe("EDEADLK");
    };
    expect(await vm.setMemslotAsync({ ...SLOT, size: 0 }, { onProgress })).toBe("delete");
    expect(new Set(seen)).toEqual(new Set(["mmio"]));
    expect(vm.memslots()).toEqual([]);
  });

  it("cannot be aborted once the new set is published", async () => {
    const { vm } = large(here);
    const { options } = abortAfter(1);
    expect(await vm.setMemslotAsync({ ...SLOT, flags: LOG }, options)).toBe("flags");
    expect([...vm.stage2.leaves()].every(({ prot }) => (prot & 2) === 0)).toBe(true);
    expect(vm.memslot(0)?.logging).toBe(true);
  });

  it("tell what a report threw after that, when they are complete", async () => {
    const { vm } = large(here);
    const onProgress = () => {
      throw new Error("no more news");
    };
    const work = vm.setMemslotAsync({ ...SLOT, flags: LOG }, { onProgress });
    await expect(work).rejects.toThrow("no more news");
    expect([...vm.stage2.leaves()].every(({ prot }) => (prot & 2) === 0)).toBe(true);
    expect(vm.memslot(0)?.logging).toBe(true);
  });

  it("take turns, in the order in which they were asked for", async () => {
    const { vm } = large(here, LOG);
    const order: string[] = [];
    const log = (name: string) => (value: unknown) => void order.push(`${name} ${String(value)}`);
    await Promise.all([
      vm.setMemslotAsync({ slot: 1, ipa: 0, size: PAGE, hva: 0 }).then(log("slot")),
      vm.getDirtyLogAsync(0).then(({ count }) => log("log")(count)),
      vm.setMemslotAsync({ slot: 1, ipa: 0, size: 0 }).then(log("slot")),
      vm.setMemslotAsync({ ...SLOT, size: 0 }).then(log("slot")),
    ]);
    expect(order).toEqual(["slot create", "log 24", "slot delete", "slot delete"]);
  });

  it("wait for an invalidation of this thread; at once that is refused", async () => {
    const { vm } = large(here);
    vm.invalidateStart({ hva: HVA, size: PAGE });
    expect(errorOf(() => vm.setMemslot({ ...SLOT, size: 0 })).code).toBe("EDEADLK");
    const work = vm.setMemslotAsync({ ...SLOT, size: 0 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(vm.memslot(0)).toBeDefined();
    vm.invalidateEnd({ hva: HVA, size: PAGE });
    expect(await work).toBe("delete");
  });

  it("end with the VM", async () => {
    const { vm } = large(here);
    const onProgress = () => vm.dispose();
    const work = rejectionOf(vm.setMemslotAsync({ ...SLOT, size: 0 }, { onProgress }));
    const next = rejectionOf(vm.setMemslotAsync({ slot: 1, ipa: 0, size: PAGE, hva: 0 }));
    expect((await work).code).toBe("DISPOSED");
    expect((await next).code).toBe("DISPOSED");
    const other = here.keep(here.engine.vm());
    expect(other.setMemslot({ slot: 0, ipa: 0, size: PAGE, hva: 0 })).toBe("create");
  });
});

describe.each(MODES)("invalidations in slices (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);
  const range = { hva: HVA, size: 8 * GIB };

  it("that are aborted have not begun", async () => {
    const { vm } = large(here);
    const { options, reason } = abortAfter(2);
    await expect(vm.invalidateStartAsync(range, options)).rejects.toBe(reason);
    expect(vm.state).toMatchObject({ active: 0, inProgress: 0, seq: 1 });
    expect(vm.stage2.counters().leafCount).toBeLessThan(24);
    expect(vm.setMemslot({ ...SLOT, size: 0 })).toBe("delete");
  });

  it("keep aborts from being served until the change is made", async () => {
    const at = large(here);
    await at.vm.invalidateAsync(range, async () => {
      expect(at.vm.stage2.counters().leafCount).toBe(0);
      await Promise.resolve();
      touch(at, 0);
      expect(at.vcpu.lastCall.retried).toBe(true);
    });
    touch(at, 0);
    expect(at.vm.stage2.counters().leafCount).toBe(1);
    expect(at.vm.state).toMatchObject({ active: 0, inProgress: 0, seq: 1 });
  });

  it("end whatever the change does", async () => {
    const { vm } = large(here);
    const fails = () => {
      throw new Error("no change");
    };
    expect(() => vm.invalidate(range, fails)).toThrow("no change");
    await expect(vm.invalidateAsync(range, fails)).rejects.toThrow("no change");
    const rejects = () => Promise.reject(new Error("later"));
    await expect(vm.invalidateAsync(range, rejects)).rejects.toThrow("later");
    expect(errorOf(() => vm.invalidate(range, rejects as never)).code).toBe("BAD_OPTION");
    expect(vm.state).toMatchObject({ active: 0, inProgress: 0, seq: 4 });
    expect(errorOf(() => vm.invalidateEnd(range)).code).toBe("EPERM");
  });
});

/** A second thread's view of the engine, in this thread: it can hold a lock that the first one waits for. */
async function neighbour(engine: Engine, vm: Vm): Promise<{ engine: Engine; vm: Vm }> {
  const other = await Engine.attach(engine.handle);
  return { engine: other, vm: other.attachVm(vm.handle, { memory: { resolve: page } }) };
}

describe("what another thread holds", () => {
  const here = lab("threads", { ...WITH_RAM, patience: 300 });

  it("is waited for without keeping this thread from its other tasks", async () => {
    const { vm, vcpu } = large(here);
    const other = await neighbour(here.engine, vm);
    const { core } = other.engine.context;
    const table = core.vm_describe(vm.pointer) >>> 0;
    expect(core.lock_write(table)).toBe(0);
    const work = Promise.all([
      vm.unmapRangeAsync({ ipa: IPA, size: GIB }),
      vcpu.handleAbortAsync(dataAbort(IPA + 7 * GIB + 2 * PAGE)),
    ]);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(vm.stage2.counters().leafCount).toBe(24);
    expect(core.unlock_write(table)).toBe(0);
    expect((await work)[1]).toEqual({ reason: "resume", ret: 1 });
    expect(vm.stage2.counters().leafCount).toBe(24 - 3 + 1);
    other.engine.dispose();
  });

  it("is waited for by changes of memslots and invalidations", async () => {
    const { vm } = large(here);
    const other = await neighbour(here.engine, vm);
    const { core } = other.engine.context;
    const table = core.vm_describe(vm.pointer) >>> 0;
    core.lock_write(table);
    const change = vm.setMemslotAsync({ ...SLOT, flags: LOG });
    const invalidation = vm.invalidateAsync({ hva: HVA + GIB, size: PAGE }, () => {});
    await new Promise((resolve) => setTimeout(resolve, 10));
    core.unlock_write(table);
    expect(await change).toBe("flags");
    await invalidation;
    expect(vm.stage2.counters().leafCount).toBe(23);
    expect([...vm.stage2.leaves()].every(({ prot }) => (prot & 2) === 0)).toBe(true);
    other.engine.dispose();
  });

  it("ends the waiting after the thread's patience, with nothing done", async () => {
    const { vm, vcpu } = large(here);
    const other = await neighbour(here.engine, vm);
    const { core } = other.engine.context;
    const table = core.vm_describe(vm.pointer) >>> 0;
    core.lock_write(table);
    here.engine.patience = 10;
    const errors = await Promise.all([
      rejectionOf(vm.unmapRangeAsync({ ipa: IPA, size: GIB })),
      rejectionOf(vcpu.handleAbortAsync(dataAbort(IPA + 7 * GIB + 2 * PAGE))),
      rejectionOf(vm.invalidateStartAsync({ hva: HVA, size: PAGE })),
    ]);
    expect(errors.map(({ code }) => code)).toEqual(["ETIMEDOUT", "ETIMEDOUT", "ETIMEDOUT"]);
    expect(errorOf(() => vm.unmapRange({ ipa: IPA, size: GIB })).code).toBe("ETIMEDOUT");
    core.unlock_write(table);
    expect(vm.state).toMatchObject({ active: 0, inProgress: 0 });
    expect(vm.stage2.counters().leafCount).toBe(24);
    expect(vcpu.handleAbort(dataAbort(IPA + 7 * GIB + 2 * PAGE)).reason).toBe("resume");
    other.engine.dispose();
  });

  it("of the slots is waited for too", async () => {
    const { vm } = large(here, LOG);
    const other = await neighbour(here.engine, vm);
    const { core } = other.engine.context;
    expect(core.vm_log_get(vm.pointer, 0)).toBe(0);
    const work = vm.getDirtyLogAsync(0);
    await new Promise((resolve) => setTimeout(resolve, 10));
    core.vm_log_end(vm.pointer);
    expect((await work).count).toBe(24);
    other.engine.dispose();
  });
});
