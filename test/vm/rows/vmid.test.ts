/** Rows M-9.x: VMIDs and their generations. A "CPU" is a PE with a TLB of its own. */
import { describe, expect, it } from "vitest";
import type { VmCore } from "../../../src/vm/_abi.ts";
import { Access, type Vcpu, type Vm } from "../../../src/index.ts";
import { MODES, SMALL, lab } from "../../support.ts";
import { Guest, HVA, IPA, PA, abort } from "./support.ts";

/** Numbers of 8-bit VMIDs: 255, as 0 is nobody's. */
const NUMBERS = 255;

describe.each(MODES)("VMIDs (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, maxTablePages: 8192, maxObjects: 512, vmidBits: 8 });
  const small = { ipaBits: 32, vmidBits: 8 } as const;
  const core = () => here.engine.context.core as unknown as VmCore;
  /** Stored id: generation | number. */
  const idOf = (vm: Vm) => {
    core().vm_describe(vm.pointer);
    return here.engine.context.resultNumber(3);
  };
  const make = () => here.keep(here.engine.vm(small));
  /** Gives the VM a number, on this PE, and leaves it again. */
  const visit = (vm: Vm, cpu: Vcpu) => {
    const vcpu = vm.createVcpu({ cpu });
    vcpu.load();
    vcpu.put();
    vcpu.dispose();
    return idOf(vm);
  };
  const generationOf = (id: number) => Math.floor(id / 256);
  /** Takes numbers until they have run out once. */
  const rollOver = (cpu: Vcpu) => {
    const first = make();
    const start = generationOf(visit(first, cpu));
    for (let i = 0; i <= NUMBERS + 1; i++) {
      const vm = here.engine.vm(small);
      const id = visit(vm, cpu);
      vm.dispose();
      if (generationOf(id) !== start) return;
    }
    throw new Error("the numbers never ran out");
  };

  it("M-9.1: a loaded VM keeps its number: loading again changes nothing", () => {
    const cpu = here.keep(here.engine.vcpu());
    const vm = make();
    const id = visit(vm, cpu);
    expect(id % 256).toBeGreaterThan(0);
    for (let i = 0; i < 5; i++) expect(visit(vm, cpu)).toBe(id);
    const vcpu = vm.createVcpu({ cpu });
    vcpu.load();
    expect(vcpu.vmid).toBe(id % 256);
    expect((cpu.registers.vttbrEl2 >> 48n) & 0xffn).toBe(BigInt(id % 256));
    vcpu.put();
  });

  it("M-9.2: after a rollover a VM gets its old number if that is free, else the next", () => {
    const cpu = here.keep(here.engine.vcpu());
    const vms = [make(), make(), make()];
    const before = vms.map((vm) => visit(vm, cpu));
    expect(before.map((id) => id % 256)).toEqual([1, 2, 3]);
    rollOver(cpu); // the VM that did it has number 1
    const after = [2, 0, 1].map((at) => visit(vms[at]!, cpu));
    expect(after.map((id) => id % 256)).toEqual([3, 2, 4]);
    const generations = new Set(after.map(generationOf));
    expect([...generations]).toEqual([generationOf(before[0]!) + 1]);
  });

  it("M-9.3: when numbers run out all TLBs are emptied, once; what runs keeps its number", () => {
    const running = here.keep(here.engine.vcpu());
    const cpu = here.keep(here.engine.vcpu());
    const guest = new Guest(here, { ...small, size: 0 });
    const { vm } = guest;
    guest.vcpu.dispose();
    vm.setMemslot({ slot: 0, ipa: 0, size: 2 ** 20, hva: HVA });
    const vcpu = vm.createVcpu({ cpu: running });
    vcpu.load();
    vcpu.handleAbort(abort({ ipa: 0, write: true }));
    const cached = () => {
      const { hits } = running.statistics.tlb;
      expect(running.translate(0, Access.Write)).toBe(PA);
      return running.statistics.tlb.hits > hits;
    };
    cached();
    const before = idOf(vm);
    let rollovers = 0;
    for (let i = 0; i < NUMBERS; i++) {
      cached(); // there by now: an entry may go for other reasons, it must for this one
      const other = here.engine.vm(small);
      const theirs = other.createVcpu({ cpu });
      const { rolledOver, vmid } = theirs.load();
      expect(vmid, "nobody else gets what is in use").not.toBe(before % 256);
      theirs.put();
      other.dispose();
      if (!rolledOver) continue;
      rollovers++;
      expect(cached(), "after the rollover").toBe(false);
    }
    expect(rollovers).toBe(1);
    expect(vcpu.vmid, "it still runs").toBe(before % 256);
    vcpu.put();
    vcpu.load();
    expect(idOf(vm)).toBe(before + 256);
    vcpu.put();
  });

  it("M-9.4: a CPU that is idle reserves nothing", () => {
    const idle = here.keep(here.engine.vcpu());
    const cpu = here.keep(here.engine.vcpu());
    const vm = here.engine.vm(small);
    const number = visit(vm, idle) % 256;
    vm.dispose();
    rollOver(cpu);
    const seen = new Set<number>();
    for (let i = 0; i < NUMBERS; i++) {
      const other = here.engine.vm(small);
      seen.add(visit(other, cpu) % 256);
      other.dispose();
    }
    expect(seen.has(number)).toBe(true);
  });

  it("M-9.5: VMs that live never share generation and number; 0 is nobody's", () => {
    const cpu = here.keep(here.engine.vcpu());
    const vms = Array.from({ length: 100 }, make);
    for (let round = 0; round < 3; round++) {
      const ids = vms.map((vm) => visit(vm, cpu));
      expect(new Set(ids).size).toBe(vms.length);
      expect(ids.some((id) => id % 256 === 0)).toBe(false);
      rollOver(cpu);
    }
  });

  it("M-9.6: a VM that never runs has id 0 and takes no number", () => {
    const cpu = here.keep(here.engine.vcpu());
    const idle = Array.from({ length: 10 }, make);
    const first = visit(make(), cpu);
    expect(idle.map(idOf)).toEqual(Array(10).fill(0));
    const next = visit(make(), cpu);
    if (generationOf(next) === generationOf(first)) expect(next).toBe(first + 1);
    rollOver(cpu);
    expect(idle.map(idOf)).toEqual(Array(10).fill(0));
  });

  it("M-9.7: another vCPU of the VM on this CPU: its own EL1 entries go, on this CPU alone", () => {
    const guest = new Guest(here, { ipaBits: 36 });
    const { vm } = guest;
    const cpus = [0, 1].map(() => here.keep(here.engine.vcpu(undefined, {})));
    const [a, b] = [0, 1].map(() => vm.createVcpu({ cpu: cpus[0]! }));
    const c = vm.createVcpu({ cpu: cpus[1]! });
    guest.write(IPA);
    const hit = (cpu: Vcpu) => {
      const { hits } = cpu.statistics.tlb;
      expect(cpu.translate(IPA, Access.Read)).toBe(PA);
      return cpu.statistics.tlb.hits > hits;
    };
    a!.load();
    c.load();
    hit(cpus[0]!);
    hit(cpus[1]!);
    expect([hit(cpus[0]!), hit(cpus[1]!)]).toEqual([true, true]);
    a!.put();
    a!.load(); // the same again: nothing
    expect(hit(cpus[0]!)).toBe(true);
    a!.put();
    b!.load(); // another one
    expect(hit(cpus[0]!)).toBe(false);
    expect(hit(cpus[1]!)).toBe(true);
    b!.put();
    c.put();
  });

  it("M-9.7: what ran last is of the VM: vCPUs of two VMs that take turns lose nothing", () => {
    const cpu = here.keep(here.engine.vcpu());
    const guests = [0, 1].map(() => new Guest(here, { ipaBits: 36 }));
    const vcpus = guests.map(({ vm }) => vm.createVcpu({ cpu }));
    for (const guest of guests) guest.write(IPA);
    const hits = () => {
      const before = cpu.statistics.tlb.hits;
      cpu.translate(IPA, Access.Read);
      return cpu.statistics.tlb.hits - before;
    };
    const turns = [0, 1, 0, 1].map((who) => {
      vcpus[who]!.load();
      const found = hits();
      vcpus[who]!.put();
      return found;
    });
    expect(turns).toEqual([0, 0, 1, 1]);
  });
});
