/** What callers do that is out of the ordinary: half a write, an early end, a device that does not answer. */
import { describe, expect, it, vi } from "vitest";
import { type BackingAnswer, Engine, MemslotFlag } from "../../../src/index.ts";
import { MODES, errorOf, lab, rejectionOf } from "../../support.ts";
import {
  Counting,
  HVA,
  IPA,
  PAGE,
  RAM_BYTES,
  WITH_RAM,
  dataAbort,
  deferred,
  scene,
} from "./support.ts";

const LOG = MemslotFlag.LOG_DIRTY_PAGES;
const DEVICE = 0x900_0000;

describe.each(MODES)("half a write (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  /** A VM whose memory can be written up to its third page. */
  function torn(fails: () => boolean | Promise<boolean>) {
    const at = scene(here, {}, 8 * PAGE, LOG);
    const write = vi.fn((hva: number) => (hva < HVA + 2 * PAGE ? true : fails()));
    Object.assign(at.memory, { write });
    return { ...at, write };
  }

  const fails = (): boolean => {
    throw new Error("torn");
  };

  it("is logged up to the page where it ended, whatever ended it", async () => {
    const bytes = new Uint8Array(4 * PAGE);
    const refused = torn(() => false);
    expect(errorOf(() => refused.vm.writeGuest(IPA + 5, bytes)).code).toBe("EFAULT");
    expect([...refused.vm.getDirtyLog(0)]).toEqual([0, 1, 2]);
    expect(refused.write.mock.calls.map(([hva]) => hva - HVA)).toEqual([5, PAGE, 2 * PAGE]);
    const thrown = torn(fails).vm;
    expect(() => thrown.writeGuest(IPA, bytes)).toThrow("torn");
    expect([...thrown.getDirtyLog(0)]).toEqual([0, 1, 2]);
    const rejected = torn(() => Promise.reject(new Error("torn later"))).vm;
    await expect(rejected.writeGuestAsync(IPA, bytes)).rejects.toThrow("torn later");
    expect([...rejected.getDirtyLog(0)]).toEqual([0, 1, 2]);
    expect(errorOf(() => rejected.writeGuest(IPA, bytes)).code).toBe("BAD_OPTION");
    expect([...rejected.getDirtyLog(0)]).toEqual([0, 1, 2]);
  });
});

describe.each(MODES)("a device that takes its time (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  function slow() {
    const answer = deferred<bigint | undefined>();
    const bus = { read: () => answer.promise, write: () => true };
    const at = scene(here, { bus });
    const { vcpu } = at;
    const ask = (signal?: AbortSignal) =>
      vcpu.handleAbortAsync(dataAbort(DEVICE, { size: 4, register: 3 }), signal && { signal });
    return { ...at, answer, ask };
  }

  async function settled({ answer, vcpu }: ReturnType<typeof slow>): Promise<void> {
    answer.resolve(5n);
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect([vcpu.x[3], vcpu.pc]).toEqual([0n, 0n]);
  }

  it("keeps its vCPU busy until it answers", async () => {
    const { vcpu, answer, ask } = slow();
    const asked = ask();
    await Promise.resolve();
    expect(errorOf(() => vcpu.handleAbort(dataAbort(IPA))).code).toBe("EBUSY");
    answer.resolve(5n);
    expect((await asked).reason).toBe("resume");
    expect([vcpu.x[3], vcpu.pc]).toEqual([5n, 4n]);
    expect(vcpu.handleAbort(dataAbort(IPA)).reason).toBe("resume");
  });

  it("is not waited for after a signal", async () => {
    const at = slow();
    const control = new AbortController();
    const asked = at.ask(control.signal);
    await Promise.resolve();
    control.abort(new Error("enough"));
    await expect(asked).rejects.toThrow("enough");
    await settled(at);
    expect(at.vcpu.handleAbort(dataAbort(IPA)).reason).toBe("resume");
  });

  it.each(["vm", "vcpu"] as const)("is not waited for after the end of the %s", async (what) => {
    const at = slow();
    const rejection = rejectionOf(at.ask());
    await Promise.resolve();
    at[what].dispose();
    expect((await rejection).code).toBe("DISPOSED");
    await settled(at);
  });

  it("is not heard if the end comes right behind its answer", async () => {
    const at = slow();
    const rejection = rejectionOf(at.ask());
    await Promise.resolve();
    at.answer.resolve(5n);
    at.vcpu.dispose();
    expect((await rejection).code).toBe("DISPOSED");
    await settled(at);
  });
});

describe.each(MODES)("an access beside an invalidation (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("waits for it, and lets the thread's other tasks run", async () => {
    const { vm, vcpu } = scene(here);
    const change = deferred<void>();
    const invalidation = vm.invalidateAsync({ hva: HVA, size: PAGE }, () => change.promise);
    await new Promise((resolve) => setTimeout(resolve, 5));
    setTimeout(() => change.resolve(), 10);
    const written = await vcpu.runAsync(() => vcpu.cpu.write8(IPA, 1), { attempts: 2 });
    expect(written).toBeUndefined();
    await invalidation;
  });

  it("is given up after the thread's patience", () => {
    const { vm, vcpu } = scene(here);
    here.engine.patience = 20;
    vm.invalidateStart({ hva: HVA, size: PAGE });
    const error = errorOf(() => vcpu.run(() => vcpu.cpu.write8(IPA, 1), { attempts: 2 }));
    expect(error).toMatchObject({ code: "EAGAIN", details: { attempts: 2 } });
    vm.invalidateEnd({ hva: HVA, size: PAGE });
    expect(vcpu.run(() => vcpu.cpu.write8(IPA, 1))).toBeUndefined();
  });
});

describe.each(MODES)("a flush that does not come to its end (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("is still due", async () => {
    const { vm, vcpu } = scene(here, { fwb: false });
    const options = { signal: AbortSignal.abort(new Error("enough")) };
    await expect(vm.setCachesAsync(vcpu, true, options)).rejects.toThrow("enough");
    expect(vm.setCaches(vcpu, true)).toBe(true);
    await expect(vm.setWayAsync(vcpu, options)).rejects.toThrow("enough");
    expect(vm.setWay(vcpu)).toBe(true);
    expect(vm.setWay(vcpu)).toBe(false);
  });
});

describe.each(MODES)("ends (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("that are refused leave the vCPUs", () => {
    const { vm, vcpu } = scene(here);
    const other = here.keep(here.engine.stage2());
    const error = other.mmuLock.write(() => errorOf(() => vm.dispose()));
    expect(error.code).toBe("EDEADLK");
    expect([vm.isOpen, vcpu.isOpen]).toEqual([true, true]);
    expect(vcpu.run(() => vcpu.cpu.write8(IPA, 1))).toBeUndefined();
  });

  it("by the owner end what an attached object has", async () => {
    const { vm } = scene(here);
    const memory = new Counting();
    memory.answer = () => new Promise<BackingAnswer>(() => {});
    const attached = here.engine.attachVm(vm.handle, { memory });
    const before = here.engine.memoryUsage().used;
    const vcpu = attached.createVcpu();
    const rejection = rejectionOf(vcpu.handleAbortAsync(dataAbort(IPA)));
    await Promise.resolve();
    vm.dispose();
    attached.dispose();
    expect((await rejection).code).toBe("DISPOSED");
    expect(here.engine.memoryUsage().used).toBeLessThan(before);
    expect(errorOf(() => vcpu.cpu.read8(0)).code).toBe("DISPOSED");
  });

  it("of a look at the page table are none", () => {
    const { vm, vcpu } = scene(here);
    vcpu.handleAbort(dataAbort(IPA));
    vm.stage2.dispose();
    expect(vm.slotStatistics(0).mapped).toBe(1);
    expect(vm.statistics.tablePages).toBeGreaterThan(0);
    expect(vm.stage2.counters().leafCount).toBe(1);
  });
});

describe.each(MODES)("events (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);
  const slot = (id: number) => ({ slot: id, ipa: id * PAGE, size: PAGE, hva: HVA });

  it("wait for the next loop when one is left", () => {
    const { vm } = scene(here, { vmEvents: ["slot"] }, 0);
    for (const id of [1, 2, 3]) vm.setMemslot(slot(id));
    for (const event of vm.events()) {
      expect(event).toMatchObject({ kind: "slot", slot: 1 });
      break;
    }
    expect([...vm.events()]).toMatchObject([{ slot: 2 }, { slot: 3 }]);
  });

  it("of a VM that was destroyed are not those of the next", () => {
    const first = scene(here, { vmEvents: ["slot"] }, 0).vm;
    expect([...first.events()]).toEqual([]);
    first.setMemslot(slot(1));
    const { number } = first;
    first.dispose();
    const next = scene(here, { vmEvents: ["slot"] }, 0).vm;
    expect(next.number).toBe(number);
    next.setMemslot(slot(2));
    expect([...next.events()]).toMatchObject([{ kind: "slot", slot: 2 }]);
  });
});

describe("an invalidation of another thread", () => {
  const here = lab("threads", WITH_RAM);
  const region = { slot: 0, ipa: IPA, size: 0 };

  it("is what a change of memslots says it waits for in vain", async () => {
    const { vm } = scene(here);
    const range = { hva: HVA, size: PAGE };
    const { engine } = here;
    const other = await Engine.attach(engine.handle);
    const there = other.attachVm(vm.handle);
    there.invalidateStart(range);
    engine.patience = 20;
    for (const error of [
      errorOf(() => vm.setMemslot(region)),
      await rejectionOf(vm.setMemslotAsync(region)),
    ]) {
      expect(error).toMatchObject({ code: "ETIMEDOUT", details: { waitingFor: "invalidation" } });
      expect(error.message).not.toContain("use setMemslotAsync");
    }
    expect(vm.memslot(0)).toMatchObject({ size: RAM_BYTES, invalid: false });
    there.invalidateEnd(range);
    expect(vm.setMemslot(region)).toBe("delete");
    other.dispose();
  });
});
