/** `engine.vm({ pkvm })`: a VM whose page table the hypervisor keeps; everything else is as it was. */
import { describe, expect, it } from "vitest";
import {
  type Backing,
  Engine,
  Fault,
  type Generation,
  type GuestAbort,
  MemslotFlag,
  type Pkvm,
  Prot,
  type Vm,
  type VmOptions,
} from "../../../src/index.ts";
import { MODES, type Lab, errorOf, lab } from "../../support.ts";
import { MEMORY, PAGE, RAM2, RAM2_BYTES, snapshot, state } from "../support.ts";

const IPA = 0x4000_0000;
const HVA = 0x7f00_0000_0000;
const PFN = RAM2 / PAGE;

/** Guest memory is the machine's second region; `blocks`: by the largest pages that the host has. */
const backing = (blocks = false): Backing => ({
  resolve: ({ hva }) => ({
    pa: RAM2 + (hva - HVA),
    writable: true,
    ...(blocks ? { hostSize: 2 ** 21 } : {}),
  }),
});

interface Scene {
  readonly pkvm: Pkvm;
  readonly vm: Vm;
}

function scene(here: Lab, generation: Generation, options: VmOptions = {}, flags = 0): Scene {
  const pkvm = here.keep(here.engine.pkvm({ memory: MEMORY, generation }));
  const vm = here.keep(here.engine.vm({ pkvm, memory: backing(), ...options }));
  vm.setMemslot({ slot: 0, ipa: IPA, size: RAM2_BYTES, hva: HVA, flags });
  return { pkvm, vm };
}

const options = {
  maxTablePages: 8192,
  maxThreads: 4,
  maxObjects: 64,
  guestRam: { pa: RAM2, size: RAM2_BYTES },
};

describe.each(MODES)("a VM on a pKVM machine (%s)", (mode) => {
  const here = lab(mode, options);

  it.each(["seed", "default", "newest"] as const)("runs a guest: %s", (generation) => {
    const { pkvm, vm } = scene(here, generation);
    const vcpu = vm.createVcpu();
    vcpu.run(() => vcpu.cpu.write32(IPA + 8, 42));
    expect(vcpu.run(() => vcpu.cpu.read32(IPA + 8))).toBe(42);
    expect(state(pkvm, PFN)).toMatchObject({ sharedWith: "guests", guestMappings: 1 });
    expect(pkvm.vms().map(({ protectedGuest }) => protectedGuest)).toEqual([false]);
    vm.invalidate({ hva: HVA, size: PAGE }, () => undefined);
    expect(state(pkvm, PFN)).toMatchObject({ host: "OWNED", guestMappings: 0 });
    expect(vm.stage2.counters().leafCount).toBe(0);
  });

  it("takes its IPA size, granule and the CPU's features from the machine", () => {
    const pkvm = here.keep(here.engine.pkvm({ memory: MEMORY, paBits: 36, fwb: true }));
    const vm = here.keep(here.engine.vm({ pkvm, ipaBits: 33 }));
    expect([vm.ipaBits, vm.pageSize]).toEqual([36, PAGE]);
    const plain = here.keep(here.engine.vm({ protected: true, hostIpaBits: 36, fwb: true }));
    expect(vm.stage2.vtcr).toBe(plain.stage2.vtcr);
  });

  it("maps blocks where the machine has them", () => {
    const { vm, pkvm } = scene(here, "default", { memory: backing(true) });
    const vcpu = vm.createVcpu();
    vcpu.run(() => vcpu.cpu.write32(IPA + 8, 42));
    expect([...vm.stage2.leaves()].map(({ level }) => level)).toEqual([2]);
    expect(state(pkvm, PFN + 511).guestMappings).toBe(1);
  });

  it("maps pages alone where it has none", () => {
    const { vm } = scene(here, "seed", { memory: backing(true) });
    const vcpu = vm.createVcpu();
    vcpu.run(() => vcpu.cpu.write32(IPA + 8, 42));
    expect([...vm.stage2.leaves()].map(({ level }) => level)).toEqual([3]);
  });

  it("logs what the guest writes to", () => {
    const { vm } = scene(here, "default", {}, MemslotFlag.LOG_DIRTY_PAGES);
    const vcpu = vm.createVcpu();
    for (const page of [3, 5]) vcpu.run(() => vcpu.cpu.write32(IPA + page * PAGE, 1));
    expect([...vm.getDirtyLog(0)]).toEqual([3, 5]);
    expect([...vm.getDirtyLog(0)]).toEqual([]);
    vcpu.run(() => vcpu.cpu.write32(IPA + 5 * PAGE, 2));
    expect([...vm.getDirtyLog(0)]).toEqual([5]);
  });

  it("ages what the guest uses", () => {
    const { vm } = scene(here, "default");
    const vcpu = vm.createVcpu();
    const range = { hva: HVA, size: PAGE };
    vcpu.run(() => vcpu.cpu.read32(IPA));
    expect([vm.clearFlushYoung(range), vm.testYoung(HVA)]).toEqual([true, false]);
    vcpu.run(() => vcpu.cpu.read32(IPA));
    expect([vm.testYoung(HVA), vm.clearYoung(range), vm.clearYoung(range)]).toEqual([
      true,
      true,
      false,
    ]);
  });

  it("P-8: maps no devices", () => {
    const { vm } = scene(here, "default");
    const request = { ipa: 0x900_0000, pa: 0x900_0000, size: PAGE, writable: true };
    expect(errorOf(() => vm.ioremap(request)).code).toBe("EPERM");
  });

  it("has exits for devices as any VM, as its guest is not protected", () => {
    const { vm } = scene(here, "default");
    const vcpu = vm.createVcpu();
    const fault = vcpu.cpu.write8(0x900_0000, 65);
    expect(fault).toBeInstanceOf(Fault);
    const exit = vcpu.handleAbort((fault as Fault).withSyndrome({ size: 1, register: 3 }));
    expect(exit).toMatchObject({ reason: "mmio", address: 0x900_0000 });
    expect(errorOf(() => vcpu.handleAbort(fault as unknown as GuestAbort)).code).toBe("ENOSYS");
  });

  it("gives everything back when it ends", () => {
    const pkvm = here.keep(here.engine.pkvm({ memory: MEMORY }));
    const before = snapshot(pkvm);
    const vm = here.engine.vm({ pkvm, memory: backing() });
    vm.setMemslot({ slot: 0, ipa: IPA, size: RAM2_BYTES, hva: HVA });
    const vcpu = vm.createVcpu();
    for (let page = 0; page < 20; page++) vcpu.run(() => vcpu.cpu.write32(IPA + page * PAGE, 1));
    expect(errorOf(() => pkvm.dispose()).code).toBe("EBUSY");
    vm.dispose();
    expect(snapshot(pkvm)).toEqual(before);
  });

  it("P-7.1: the same when its address space goes first", () => {
    const { pkvm, vm } = scene(here, "default");
    const vcpu = vm.createVcpu();
    vcpu.run(() => vcpu.cpu.write32(IPA, 1));
    vm.release();
    expect(pkvm.vms()).toEqual([]);
    expect(state(pkvm, PFN)).toMatchObject({ host: "OWNED", guestMappings: 0 });
  });

  it("gives a protected guest its memory for good", () => {
    const { pkvm, vm } = scene(here, "newest", { protectedGuest: true });
    const vcpu = vm.createVcpu();
    vcpu.run(() => vcpu.cpu.write32(IPA + 8, 42));
    expect(state(pkvm, PFN)).toMatchObject({ host: "NOPAGE", owner: "guest" });
    expect([...vm.stage2.leaves()].map(({ prot }) => prot & Prot.RWX)).toEqual([Prot.RWX]);
    vm.dispose();
    expect(state(pkvm, PFN).host).toBe("OWNED");
  });

  it.each<[string, VmOptions, string]>([
    ["no machine", { pkvm: {} as Pkvm }, "BAD_OPTION"],
    ["another granule", { granule: "16K" }, "BAD_OPTION"],
    ["another IPA limit", { hostIpaBits: 48 }, "BAD_OPTION"],
    ["another CPU", { fwb: true }, "BAD_OPTION"],
    ["no protection", { protected: false }, "BAD_OPTION"],
    ["a protected guest that the machine has not", { protectedGuest: true }, "BAD_OPTION"],
    ["a machine type that there is not", { type: 0x100 }, "EINVAL"],
  ])("is refused with %s", (_, part, code) => {
    const pkvm = here.keep(here.engine.pkvm({ memory: MEMORY }));
    const before = snapshot(pkvm);
    expect(errorOf(() => here.engine.vm({ pkvm, ...part })).code).toBe(code);
    expect(snapshot(pkvm)).toEqual(before);
  });

  it("is refused as a protected guest without a machine, and on another engine's, and on one that has ended", async () => {
    expect(errorOf(() => here.engine.vm({ protectedGuest: true })).code).toBe("BAD_OPTION");
    using other = await Engine.create({ maxTablePages: 1024, mode });
    const foreign = other.pkvm({ memory: MEMORY });
    expect(errorOf(() => here.engine.vm({ pkvm: foreign })).code).toBe("FOREIGN");
    const ended = here.engine.pkvm({ memory: MEMORY });
    ended.dispose();
    expect(errorOf(() => here.engine.vm({ pkvm: ended })).code).toBe("DISPOSED");
  });
});

describe("a VM on a pKVM machine, in another thread", () => {
  const here = lab("threads", options);

  it("has the same guest, which is not protected there either", async () => {
    const { vm } = scene(here, "default");
    const second = await Engine.attach(here.engine.handle);
    const other = second.attachVm(vm.handle, { memory: backing() });
    const vcpu = other.createVcpu({ id: 7 });
    vcpu.run(() => vcpu.cpu.write32(IPA + 8, 42));
    const own = vm.createVcpu();
    expect(own.run(() => own.cpu.read32(IPA + 8))).toBe(42);
    const fault = vcpu.cpu.write8(0x900_0000, 65) as unknown as GuestAbort;
    expect(errorOf(() => vcpu.handleAbort(fault)).code).toBe("ENOSYS");
    second.dispose();
    own.dispose();
  });
});
