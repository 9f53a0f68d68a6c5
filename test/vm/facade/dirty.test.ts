import { describe, expect, it } from "vitest";
import { Cap, MemslotFlag, type VmOptions } from "../../../src/index.ts";
import { MODES, errorOf, lab, rejectionOf } from "../../support.ts";
import { HVA, IPA, PAGE, RAM, WITH_RAM, dataAbort, page, scene } from "./support.ts";

const LOG = MemslotFlag.LOG_DIRTY_PAGES;
const PAGES = 100;

function logged(here: ReturnType<typeof lab>, options: VmOptions = {}) {
  const at = scene(here, options, PAGES * PAGE, LOG);
  const write = (...pages: number[]): void => {
    for (const number of pages) {
      const abort = dataAbort(IPA + number * PAGE, { size: 4, write: true });
      expect(at.vcpu.handleAbort(abort).reason).toBe("resume");
    }
  };
  return { ...at, write };
}

describe.each(MODES)("dirty logs (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("tell which pages were written to, in order", () => {
    const { vm, write } = logged(here);
    write(99, 0, 63, 64, 31, 32);
    const log = vm.getDirtyLog(0);
    expect([...log]).toEqual([0, 31, 32, 63, 64, 99]);
    expect(log).toMatchObject({ slot: 0, pages: PAGES, count: 6 });
    expect([...log.bits]).toEqual([(1n << 63n) | (1n << 32n) | (1n << 31n) | 1n, (1n << 35n) | 1n]);
    expect([0, 1, 62, 63, 99, 100, 1e6].map((number) => log.has(number))).toEqual([
      true,
      false,
      false,
      true,
      true,
      false,
      false,
    ]);
    expect(vm.getDirtyLog(0).count).toBe(0);
    expect([...log]).toHaveLength(6); // a copy
  });

  it("are handed out without a copy when asked", () => {
    const { vm, write } = logged(here);
    write(3, 70);
    const log = vm.getDirtyLog(0, { view: true });
    expect(log.bits.buffer).toBe(here.engine.memory.buffer);
    expect([...log]).toEqual([3, 70]);
    vm.getDirtyLog(0);
    expect([...log]).toEqual([]);
  });

  it("are cleared by a view of themselves", () => {
    const { vm, write } = logged(here);
    vm.manualDirtyLogProtect();
    write(3, 70, 71);
    const { bits, count } = vm.getDirtyLog(0, { view: true });
    expect(count).toBe(3);
    expect(vm.clearDirtyLog(0, { firstPage: 0, pages: PAGES, bitmap: bits })).toBe(3);
    expect(vm.getDirtyLog(0).count).toBe(0);
  });

  it("are cleared by bytes, from any first page", () => {
    const { vm, write } = logged(here);
    vm.manualDirtyLogProtect();
    write(0, 64, 65, 99);
    const bitmap = new Uint8Array([0b10, 0, 0, 0, 0xff]); // pages 65, 96 to 103
    expect(vm.clearDirtyLog(0, { firstPage: 64, pages: PAGES - 64, bitmap })).toBe(2);
    expect([...vm.getDirtyLog(0)]).toEqual([0, 64]);
    expect(vm.clearDirtyLog(0, { firstPage: 64, pages: 0, bitmap })).toBe(0);
  });

  it("refuse masks that are none", () => {
    const { vm, write } = logged(here);
    write(1);
    const clear = (bitmap: unknown, firstPage: unknown = 0, pages: unknown = PAGES) =>
      errorOf(() => vm.clearDirtyLog(0, { firstPage, pages, bitmap } as never)).code;
    const good = new Uint8Array(13);
    expect(clear(new Uint8Array(12))).toBe("EFAULT");
    expect(clear(new BigUint64Array(1))).toBe("EFAULT");
    expect(clear(new Uint32Array(4))).toBe("BAD_OPTION");
    expect(clear([255])).toBe("BAD_OPTION");
    expect(clear(undefined)).toBe("BAD_OPTION");
    expect(clear(good, -1)).toBe("BAD_OPTION");
    expect(clear(good, 0.5)).toBe("BAD_OPTION");
    expect(clear(good, 0, "9")).toBe("BAD_OPTION");
    expect(clear(good, 1)).toBe("EINVAL");
    expect(clear(good, 128)).toBe("EINVAL");
    expect(errorOf(() => vm.clearDirtyLog(0, undefined as never)).code).toBe("BAD_OPTION");
    expect(errorOf(() => vm.getDirtyLog(0, { view: 1 } as never)).code).toBe("BAD_OPTION");
    expect(errorOf(() => vm.getDirtyLog(0, { veiw: true } as never)).code).toBe("BAD_OPTION");
    expect(errorOf(() => vm.getDirtyLog(-1)).code).toBe("BAD_OPTION");
    expect(errorOf(() => vm.getDirtyLog(9)).code).toBe("ENOENT");
    expect(errorOf(() => vm.getDirtyLog(32767)).code).toBe("EINVAL");
    expect([...vm.getDirtyLog(0)]).toEqual([1]);
  });

  it("collected in slices are whole, or nothing was collected", async () => {
    const size = 2 ** 20 * PAGE;
    const at = scene(here, {}, size, LOG);
    const pages = [0, 65_535, 65_536, 500_000, 2 ** 20 - 1];
    for (const number of pages) at.vm.markDirty(IPA + number * PAGE);
    const control = new AbortController();
    let steps = 0;
    const onProgress = () => (++steps === 9 ? control.abort(new Error("stop")) : undefined);
    const work = at.vm.getDirtyLogAsync(0, { signal: control.signal, onProgress });
    await expect(work).rejects.toThrow("stop");
    expect([...(await at.vm.getDirtyLogAsync(0, { view: true }))]).toEqual(pages);

    for (const number of pages) at.vm.markDirty(IPA + number * PAGE);
    const bitmap = new Uint8Array(2 ** 17).fill(0xff);
    const failing = at.vm.clearDirtyLogAsync(
      0,
      { firstPage: 0, pages: 2 ** 20, bitmap },
      {
        onProgress: ({ done }) => {
          if (done > size / 2) throw new Error("full");
        },
      },
    );
    await expect(failing).rejects.toThrow("full");
    expect([...at.vm.getDirtyLog(0)]).toEqual(pages);
  });

  it("can be switched on, on again as all dirty, and off", () => {
    const { vm } = scene(here, {}, 0);
    expect(vm.caps).toMatchObject({ manualProtect: false, initiallySet: false });
    vm.manualDirtyLogProtect({ initiallySet: true });
    expect(vm.caps).toMatchObject({ manualProtect: true, initiallySet: true });
    vm.setMemslot({ slot: 0, ipa: IPA, size: PAGES * PAGE, hva: HVA, flags: LOG });
    expect(vm.getDirtyLog(0).count).toBe(PAGES);
    vm.manualDirtyLogProtect(false);
    expect(vm.caps).toMatchObject({ manualProtect: false, initiallySet: false });
    expect(errorOf(() => vm.enableCap(Cap.MANUAL_DIRTY_LOG_PROTECT2, 2)).code).toBe("EINVAL");
    expect(errorOf(() => vm.enableCap(1)).code).toBe("EINVAL");
    for (const value of [-1n, 2n ** 64n, 0.5, "1"]) {
      const error = errorOf(() => vm.enableCap(Cap.ARM_EAGER_SPLIT_CHUNK_SIZE, value as never));
      expect(["BAD_OPTION", "BAD_ADDRESS"]).toContain(error.code);
    }
  });
});

describe.each(MODES)("dirty rings (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  function ringed() {
    const at = scene(here, {}, 0);
    at.vcpu.dispose();
    at.vm.enableDirtyRing({ bytes: PAGE, backupBitmap: true });
    at.vm.setMemslot({ slot: 3, ipa: IPA, size: 512 * PAGE, hva: HVA, flags: LOG });
    const vcpu = at.vm.createVcpu();
    return { ...at, vcpu, ring: vcpu.dirtyRing! };
  }

  it("are harvested in the order of the writes, once", () => {
    const { vm, vcpu, ring } = ringed();
    expect(ring).toMatchObject({ entries: 256, softLimit: 192, used: 0, full: false, vcpu: 0 });
    expect(vcpu.dirtyRing).toBe(ring);
    for (const number of [5, 2, 400]) vcpu.run(() => vcpu.cpu.write32(IPA + number * PAGE, 1));
    const offsets = [5, 2, 400];
    expect([...ring.harvest()]).toEqual(offsets.map((offset) => ({ slot: 3, offset })));
    expect([...ring.harvest()]).toEqual([]);
    expect(ring.used).toBe(3);
    expect(vm.resetDirtyRings()).toBe(3);
    expect(ring.used).toBe(0);
    vcpu.run(() => vcpu.cpu.write32(IPA + 5 * PAGE, 2));
    expect([...ring.harvest()]).toEqual([{ slot: 3, offset: 5 }]);
  });

  it("keep what a loop that was left did not come to, for any harvester", () => {
    const { vm, vcpu, ring } = ringed();
    for (const number of [1, 2, 3]) vcpu.run(() => vcpu.cpu.write32(IPA + number * PAGE, 1));
    for (const { offset } of ring.harvest()) if (offset === 1) break;
    const [other] = vm.dirtyRings();
    expect([...other!.harvest()].map(({ offset }) => offset)).toEqual([2, 3]);
    expect([...ring.harvest()]).toEqual([]);
  });

  it("keep a vCPU from running when they are full", async () => {
    const { vm, vcpu, ring } = ringed();
    let outcome: unknown;
    let written = 0;
    for (; outcome === undefined; written++) {
      outcome = vcpu.run(() => vcpu.cpu.write32(IPA + written * PAGE, 1));
      expect(written).toBeLessThan(256);
    }
    expect(outcome).toEqual({ reason: "dirtyRingFull", ret: 0 });
    expect(await vcpu.runAsync(() => 1)).toBe(outcome);
    expect([ring.full, ring.used]).toEqual([true, 192]);
    expect(written - 1).toBe(191); // M-8.36: the last entry is there before its data
    expect(vcpu.enter()).toBe(outcome);
    for (const { offset } of ring.harvest()) if (offset === 99) break;
    expect(await vm.resetDirtyRingsAsync()).toBe(100);
    expect(vcpu.enter()).toBeUndefined();
    expect(vcpu.run(() => vcpu.cpu.write32(IPA, 1))).toBeUndefined();
    expect(ring.overflowed).toBe(0);
  });

  it("go round", () => {
    const { vm, vcpu, ring } = ringed();
    for (let round = 0; round < 12; round++) {
      for (let number = 0; number < 100; number++) {
        vcpu.run(() => vcpu.cpu.write32(IPA + number * PAGE, round));
      }
      expect([...ring.harvest()].map(({ offset }) => offset)).toEqual([...Array(100).keys()]);
      expect(vm.resetDirtyRings()).toBe(100);
    }
  });

  it("end with their vCPU", () => {
    const { vm, vcpu, ring } = ringed();
    vcpu.dispose();
    expect(errorOf(() => [...ring.harvest()]).code).toBe("DISPOSED");
    expect(errorOf(() => ring.full).code).toBe("DISPOSED");
    expect(vm.dirtyRings()).toEqual([]);
  });

  it("are not there where they were not asked for", () => {
    const { vm, vcpu } = scene(here);
    expect(vcpu.dirtyRing).toBeUndefined();
    expect(vm.dirtyRings()).toEqual([]);
    expect(errorOf(() => vm.resetDirtyRings()).code).toBe("EINVAL");
    expect(errorOf(() => vm.enableDirtyRing({ bytes: PAGE })).code).toBe("EINVAL"); // a vCPU is there
    expect(errorOf(() => vm.enableDirtyRing({ byte: 1 } as never)).code).toBe("BAD_OPTION");
  });
});

describe.each(MODES)("pages that hardware makes dirty (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("are in the log when it is collected, and in no log that begins later", () => {
    const { vm } = scene(here, {}, 0);
    vm.enableHdbss();
    expect(vm.caps.hdbss).toBe(true);
    const slot = { slot: 0, ipa: IPA, size: PAGES * PAGE, hva: HVA };
    vm.setMemslot({ ...slot, flags: LOG });
    const vcpu = vm.createVcpu({ hafdbs: 4 });
    vcpu.setHdbssBuffer(512);
    for (const number of [4, 9]) vcpu.run(() => vcpu.cpu.read32(IPA + number * PAGE));
    const { aborts } = vcpu.statistics;
    for (const number of [4, 9]) {
      expect(vcpu.run(() => vcpu.cpu.write32(IPA + number * PAGE, 1))).toBeUndefined();
    }
    expect([...vm.getDirtyLog(0)]).toEqual([4, 9]);
    expect(vcpu.statistics.aborts).toBe(aborts); // no write was a fault
    expect(vcpu.statistics.harvested).toBe(2);
    vcpu.run(() => vcpu.cpu.write32(IPA + 4 * PAGE, 2));
    vm.setMemslot(slot);
    vm.setMemslot({ ...slot, flags: LOG });
    expect([...vm.getDirtyLog(0)]).toEqual([]);
  });

  it("need a CPU that can record them", () => {
    const { vm } = scene(here, {}, 0);
    const vcpu = vm.createVcpu();
    expect(errorOf(() => vcpu.setHdbssBuffer(512)).code).toBe("EINVAL");
    const able = vm.createVcpu({ hafdbs: 4 });
    for (const entries of [1, 513, -512, 2 ** 20, "512"]) {
      expect(errorOf(() => able.setHdbssBuffer(entries as number)).code).toBe("BAD_OPTION");
    }
    able.setHdbssBuffer(1024);
    able.setHdbssBuffer(0);
    expect(able.harvestHdbss()).toBe(0);
  });
});

describe.each(MODES)("the guest's bytes (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);
  const bytesAt = (hva: number, length: number): Uint8Array =>
    here.engine.memoryMap.bytes(page({ hva }).pa, length);

  function backed(later: boolean) {
    const at = logged(here);
    const answer = <T>(value: T) => (later ? Promise.resolve(value) : value);
    Object.assign(at.memory, {
      read: (hva: number, into: Uint8Array) => answer((into.set(bytesAt(hva, into.length)), true)),
      write: (hva: number, bytes: Uint8Array) =>
        answer((bytesAt(hva, bytes.length).set(bytes), true)),
    });
    return at;
  }

  it("are read and written, and what is written is dirty", () => {
    const { vm } = backed(false);
    const bytes = Uint8Array.from({ length: PAGE + 2 }, (_, index) => index & 0xff);
    vm.writeGuest(IPA + PAGE - 1, bytes);
    expect(vm.readGuest(IPA + PAGE - 1, PAGE + 2)).toEqual(bytes);
    expect(here.engine.memoryMap.bytes(RAM + PAGE, 2)).toEqual(new Uint8Array([1, 2]));
    expect([...vm.getDirtyLog(0)]).toEqual([0, 1, 2]);
    expect(vm.readGuest(IPA, 0)).toEqual(new Uint8Array());
    expect(vm.markDirty(IPA + 7 * PAGE)).toBe(true);
    expect(vm.markDirty(0)).toBe(false);
    expect([...vm.getDirtyLog(0)]).toEqual([7]);
  });

  it("cross from slot to slot, but not into nothing or what is read-only", () => {
    const { vm } = backed(false);
    const next = { slot: 1, ipa: IPA + PAGES * PAGE, size: PAGE, hva: HVA + 200 * PAGE };
    vm.setMemslot({ ...next, flags: MemslotFlag.READONLY });
    const edge = IPA + PAGES * PAGE - 1;
    expect(vm.readGuest(edge, 2)).toHaveLength(2);
    expect(errorOf(() => vm.writeGuest(edge, new Uint8Array(2))).code).toBe("EFAULT");
    expect([...vm.getDirtyLog(0)]).toEqual([PAGES - 1]); // what lies before is written
    expect(errorOf(() => vm.readGuest(edge, PAGE + 2)).code).toBe("EFAULT");
    expect(errorOf(() => vm.readGuest(0, 1)).code).toBe("EFAULT");
  });

  it("come later from a backing that waits", async () => {
    const { vm } = backed(true);
    await vm.writeGuestAsync(IPA, new Uint8Array([9, 8]));
    expect(await vm.readGuestAsync(IPA, 2)).toEqual(new Uint8Array([9, 8]));
    expect(errorOf(() => vm.readGuest(IPA, 2)).code).toBe("BAD_OPTION");
    expect((await rejectionOf(vm.readGuestAsync(0, 2))).code).toBe("EFAULT");
    expect([...vm.getDirtyLog(0)]).toEqual([0]);
  });

  it("are refused where the backing has none, and for what is no place", () => {
    const { vm, memory } = logged(here);
    expect(errorOf(() => vm.readGuest(IPA, 1)).code).toBe("EFAULT");
    expect(errorOf(() => vm.writeGuest(IPA, new Uint8Array(1))).code).toBe("EFAULT");
    Object.assign(memory, { read: () => false });
    expect(errorOf(() => vm.readGuest(IPA, 1)).code).toBe("EFAULT");
    expect(errorOf(() => vm.readGuest(IPA, -1)).code).toBe("BAD_OPTION");
    expect(errorOf(() => vm.readGuest(-1, 1)).code).toBe("BAD_ADDRESS");
    expect(errorOf(() => vm.writeGuest(IPA, [1] as never)).code).toBe("BAD_OPTION");
    expect(vm.getDirtyLog(0).count).toBe(0);
  });
});
