/** In which order a VM, its address space and its machine end. */
import { describe, expect, it } from "vitest";
import { type Backing, Fault, type Pkvm, type Vm, type VmVcpu } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { MEMORY, PAGE, RAM2, RAM2_BYTES } from "../support.ts";

const IPA = 0x4000_0000;
const HVA = 0x7f00_0000_0000;
const memory: Backing = { resolve: ({ hva }) => ({ pa: RAM2 + (hva - HVA), writable: true }) };

const options = {
  maxTablePages: 8192,
  maxThreads: 4,
  maxObjects: 64,
  guestRam: { pa: RAM2, size: RAM2_BYTES },
};

describe.each(MODES)("the end of a VM on a pKVM machine (%s)", (mode) => {
  const here = lab(mode, options);

  const make = (): { pkvm: Pkvm; vm: Vm; vcpu: VmVcpu } => {
    const pkvm = here.keep(here.engine.pkvm({ memory: MEMORY, generation: "newest" }));
    const vm = here.keep(here.engine.vm({ pkvm, memory }));
    vm.setMemslot({ slot: 0, ipa: IPA, size: RAM2_BYTES, hva: HVA });
    const vcpu = vm.createVcpu();
    vcpu.run(() => vcpu.cpu.write32(IPA, 1));
    return { pkvm, vm, vcpu };
  };

  it("the machine stays as long as there is a VM, and says which", () => {
    const { pkvm, vm, vcpu } = make();
    const [{ handle } = { handle: 0 }] = pkvm.vms();
    const error = errorOf(() => pkvm.dispose());
    expect([error.code, error.details["vm"]]).toEqual(["EBUSY", handle]);
    expect(error.message).toContain("0x1000");
    vcpu.run(() => vcpu.cpu.write32(IPA + PAGE, 2)); // all goes on
    vm.dispose();
    pkvm.dispose();
    expect([vm.isOpen, pkvm.isOpen]).toEqual([false, false]);
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it("release, machine, VM: what is left of the VM finds no table", () => {
    const { pkvm, vm, vcpu } = make();
    vm.release();
    expect(pkvm.vms()).toEqual([]);
    expect(pkvm.hostPages.free).toBe(pkvm.hostPages.all);
    pkvm.dispose();
    expect(errorOf(() => vm.stage2.lookup(IPA)).code).toBe("DISPOSED");
    expect(vcpu.cpu.write32(IPA, 1)).toBeInstanceOf(Fault);
    expect(errorOf(() => vcpu.load()).code).toBe("EINVAL");
    expect(errorOf(() => vm.createVcpu()).code).toBe("EINVAL");
    vm.invalidate({ hva: HVA, size: RAM2_BYTES }, () => undefined);
    expect([vm.state.slots, vm.statistics.tablePages]).toEqual([1, 0]);
    vm.release();
    vm.dispose();
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it("release, machine, another machine in its place: the VM has nothing to do with that", () => {
    const { pkvm, vm, vcpu } = make();
    const { pointer } = pkvm.handle;
    vm.release();
    pkvm.dispose();
    const next = here.keep(here.engine.pkvm({ memory: MEMORY, generation: "newest" }));
    expect(next.handle.pointer).toBe(pointer);
    const before = [...next.ranges()];
    expect(vcpu.cpu.write32(IPA, 1)).toBeInstanceOf(Fault);
    expect(errorOf(() => vcpu.load()).code).toBe("EINVAL");
    expect(errorOf(() => here.engine.vm({ pkvm })).code).toBe("DISPOSED");
    vm.dispose();
    expect([...next.ranges()]).toEqual(before);
    expect(next.vms()).toEqual([]);
  });

  it("release, VM, machine; and the machine's end is asked for twice", () => {
    const { pkvm, vm } = make();
    vm.release();
    vm.dispose();
    pkvm.dispose();
    pkvm.dispose();
    vm.dispose();
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it("an attached VM lets go, and its owner ends it", () => {
    const { pkvm, vm } = make();
    const other = here.engine.attachVm(vm.handle, { memory });
    other.dispose();
    expect(pkvm.vms().length).toBe(1);
    here.engine.attachVm(vm.handle, { own: true }).dispose();
    expect([vm.isOpen, pkvm.vms().length]).toEqual([false, 0]);
    vm.dispose(); // with the CPU of its vCPU
    pkvm.dispose();
    expect(here.engine.memoryUsage().used).toBe(0);
  });
});
