/** What is refused: answers that make no sense, requests that are none, faults of another's CPU. */
import { describe, expect, it, vi } from "vitest";
import type { BackingFacts, Fault, VmVcpu, VmVcpuOptions } from "../../../src/index.ts";
import { MemslotFlag } from "../../../src/index.ts";
import { MODES, errorOf, lab, rejectionOf } from "../../support.ts";
import { HVA, IPA, PAGE, WITH_RAM, dataAbort, page, scene } from "./support.ts";

const LOG = MemslotFlag.LOG_DIRTY_PAGES;
const DEVICE = 0x900_0000;
const WRITE = { size: 4, write: true } as const;

describe.each(MODES)("answers of the backing that make no sense (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it.each([
    ["beyond the page table", { pa: 2 ** 48, writable: true }],
    ["otherwise in the VMA's page", { pa: PAGE, writable: true, vmaPageSize: 2 ** 16 }],
  ])("a page %s is refused", (_, answer) => {
    const { vm, vcpu, memory } = scene(here);
    memory.answer = () => answer;
    expect(errorOf(() => vcpu.handleAbort(dataAbort(IPA))).code).toBe("BAD_OPTION");
    expect(vm.stage2.counters().leafCount).toBe(0);
    memory.answer = page;
    expect(vcpu.handleAbort(dataAbort(IPA)).reason).toBe("resume");
  });

  it("a page that lies otherwise in the host's leaf is mapped alone", () => {
    const { vm, vcpu, memory } = scene(here);
    memory.answer = () => ({ pa: 3 * PAGE, writable: true, hostSize: 2 ** 21 });
    expect(vcpu.handleAbort(dataAbort(IPA)).reason).toBe("resume");
    expect(vm.stage2.lookup(IPA)).toBe(3 * PAGE);
    expect(vm.stage2.counters().leaves[3]).toBe(1);
  });

  it("a device beyond the page table is not mapped", () => {
    const { vm } = scene(here);
    const request = { ipa: DEVICE, pa: 2 ** 48 - PAGE, size: 2 * PAGE };
    expect(errorOf(() => vm.ioremap(request)).code).toBe("EINVAL");
    expect(vm.stage2.counters().leafCount).toBe(0);
    vm.ioremap({ ...request, size: PAGE });
    expect(vm.stage2.lookup(DEVICE)).toBe(2 ** 48 - PAGE);
  });

  it("facts and parts that come later, or are none, are refused", async () => {
    const { vm, memory } = scene(here);
    const unhandled = vi.fn();
    process.on("unhandledRejection", unhandled);
    const later = () => Promise.reject(new Error("later")) as unknown;
    Object.assign(memory, { inspect: later as () => BackingFacts, mapped: later });
    const region = { slot: 1, ipa: 0, size: PAGE, hva: HVA };
    expect(errorOf(() => vm.setMemslot(region)).code).toBe("BAD_OPTION");
    expect(errorOf(() => vm.unmapAll()).code).toBe("BAD_OPTION");
    for (const answer of [undefined, 5, {}, [null]]) {
      Object.assign(memory, { mapped: () => answer });
      expect(errorOf(() => vm.unmapAll()).code).toBe("BAD_OPTION");
    }
    await new Promise((resolve) => setTimeout(resolve, 0));
    process.off("unhandledRejection", unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });

  it("what it does when it hears of a dirty page does not change the outcome", () => {
    const { vcpu, memory } = scene(here);
    let nested: unknown;
    Object.assign(memory, {
      dirtied: () => {
        nested ??= vcpu.handleAbort(dataAbort(DEVICE, { size: 4 })).reason;
      },
    });
    expect(vcpu.handleAbort(dataAbort(IPA, WRITE))).toEqual({ reason: "resume", ret: 1 });
    expect(nested).toBe("mmio");
  });
});

describe.each(MODES)("refused at the door (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);
  const nothing = null as never;

  it("requests with a name that is unknown, or without one that is needed", () => {
    const { vm } = scene(here);
    const region = { slot: 1, ipa: 0, size: PAGE, hva: HVA };
    const clear = { firstPage: 0, pages: 64, bitmap: new BigUint64Array(1) };
    for (const call of [
      () => vm.setMemslot({ ...region, flag: 1 } as never),
      () => vm.setUserMemoryRegion({ slot: 0, ipa: 0 } as never),
      () => vm.ioremap({ ipa: 0, pa: 0, size: PAGE, writeable: false } as never),
      () => vm.clearDirtyLog(0, { ...clear, page: 1 } as never),
    ]) {
      expect(errorOf(call).code).toBe("BAD_OPTION");
    }
    expect(vm.memslots()).toHaveLength(1);
    expect(errorOf(() => (vm.eagerSplitChunk = undefined as never)).code).toBe("BAD_ADDRESS");
  });

  it("what is nothing at all", async () => {
    const { vm, vcpu } = scene(here, {}, PAGE, LOG);
    const range = { hva: HVA, size: PAGE };
    for (const call of [
      () => vm.invalidate(range, nothing),
      () => vm.createVcpu(nothing as VmVcpuOptions),
      () => vcpu.run(nothing),
      () => vcpu.setHdbssBuffer(5n as never),
      () => vm.setWay(nothing as VmVcpu),
    ]) {
      expect(errorOf(call).code).toBe("BAD_OPTION");
    }
    for (const call of [
      () => vm.getDirtyLogAsync(0, nothing),
      () => vcpu.runAsync(() => 1, nothing),
      () => vm.invalidateAsync(range, nothing),
    ]) {
      expect((await rejectionOf(call())).code).toBe("BAD_OPTION");
    }
    expect(vm.state).toMatchObject({ active: 0, inProgress: 0 });
  });

  it("a CPU that was disposed, and faults of one that runs something else", () => {
    const { vm, vcpu } = scene(here);
    const cpu = here.engine.vcpu();
    cpu.dispose();
    expect(errorOf(() => vm.createVcpu({ cpu })).code).toBe("DISPOSED");
    const fault = vcpu.cpu.write8(IPA, 1) as Fault;
    vcpu.put();
    expect(errorOf(() => vcpu.handleAbort(fault)).code).toBe("EINVAL");
    expect(errorOf(() => vcpu.run(() => 1)).code).toBe("EINVAL");
    expect(vcpu.handleAbort(dataAbort(IPA, WRITE)).reason).toBe("resume");
  });

  it("tells how an access to a device is described", () => {
    const { vcpu } = scene(here);
    const error = errorOf(() => vcpu.handleAbort(dataAbort(DEVICE)));
    expect(error.code).toBe("ENOSYS");
    expect(error.message).toContain("withSyndrome");
  });
});
