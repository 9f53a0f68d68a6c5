/** Row P-8: what callers of a VM see that is not as on the host's own page tables. */
import { describe, expect, it } from "vitest";
import {
  type Backing,
  type Generation,
  MemslotFlag,
  type Pkvm,
  Prot,
  type Vm,
  type VmOptions,
  type VmVcpu,
} from "../../../src/index.ts";
import { MODES, type Lab, errorOf, lab } from "../../support.ts";
import { BLOCK, MEMORY, PAGE, RAM2, RAM2_BYTES, state } from "../support.ts";
import { BLOCK_BYTES, GENERATIONS, IPA } from "./support.ts";

const HVA = 0x7f00_0000_0000;
const PFN = RAM2 / PAGE;
const SLOT = { slot: 0, ipa: IPA, size: RAM2_BYTES, hva: HVA };
const LOG = MemslotFlag.LOG_DIRTY_PAGES;
const OPTIONS = {
  maxTablePages: 8192,
  maxThreads: 4,
  maxObjects: 64,
  guestRam: { pa: RAM2, size: RAM2_BYTES },
};

/** The machine's second region, in the host's huge pages. */
const memory: Backing = {
  resolve: ({ hva }) => ({ pa: RAM2 + (hva - HVA), writable: true, hostSize: BLOCK_BYTES }),
};

interface Scene {
  readonly pkvm: Pkvm;
  readonly vm: Vm;
  readonly vcpu: VmVcpu;
  readonly write: (at: number) => unknown;
}

function scene(here: Lab, generation: Generation, options: VmOptions = {}): Scene {
  const pkvm = here.keep(here.engine.pkvm({ memory: MEMORY, generation }));
  const vm = here.keep(here.engine.vm({ pkvm, memory, ...options }));
  vm.setMemslot(SLOT);
  const vcpu = vm.createVcpu();
  const write = (at: number): unknown => vcpu.run(() => vcpu.cpu.write32(IPA + at * PAGE, 1));
  return { pkvm, vm, vcpu, write };
}

const shapes = (vm: Vm): [number, number, number][] =>
  [...vm.stage2.leaves()].map(({ ipa, size, prot }) => [
    (ipa - IPA) / PAGE,
    size / PAGE,
    prot & Prot.RWX,
  ]);

describe.each(MODES)("P-8: a VM over pKVM (%s)", (mode) => {
  const here = lab(mode, OPTIONS);

  describe.each(GENERATIONS)("%s", (generation) => {
    const blocks = generation !== "seed";

    it("P-8: nothing is split eagerly: the chunk size stays 0", () => {
      const { vm } = scene(here, generation);
      vm.setMemslot({ ...SLOT, size: 0 });
      for (const chunk of [PAGE, BLOCK_BYTES, 2 ** 30]) {
        expect(errorOf(() => (vm.eagerSplitChunk = chunk)).code).toBe("EINVAL");
      }
      vm.eagerSplitChunk = 0;
      expect(vm.eagerSplitChunk).toBe(0);
    });

    it("P-8: while dirty pages are logged, a write to a block unshares it, and shares one page", () => {
      const { pkvm, vm, write } = scene(here, generation);
      write(3);
      expect(shapes(vm)).toEqual([blocks ? [0, BLOCK, Prot.RW] : [3, 1, Prot.RW]]);
      vm.setMemslot({ ...SLOT, flags: LOG });
      expect(shapes(vm)).toEqual([blocks ? [0, BLOCK, Prot.R] : [3, 1, Prot.R]]);
      write(5);
      expect(shapes(vm)).toEqual([...(blocks ? [] : [[3, 1, Prot.R]]), [5, 1, Prot.RW]]);
      expect(state(pkvm, PFN + 5).guestMappings).toBe(1);
      expect(state(pkvm, PFN + 6)).toMatchObject({ host: "OWNED", guestMappings: 0 });
      expect([...vm.getDirtyLog(0)]).toEqual([5]);
    });

    it("P-8: ioremap is refused, and maps nothing", () => {
      const { vm } = scene(here, generation);
      const request = { ipa: 0x900_0000, pa: 0x900_0000, size: PAGE, writable: true };
      expect(errorOf(() => vm.ioremap(request)).code).toBe("EPERM");
      expect(shapes(vm)).toEqual([]);
    });

    it("P-8: a flush of a range is one of the VMID, by the guest's handle", () => {
      const { vm, write } = scene(here, generation, { events: ["maintenance"] });
      write(0);
      here.engine.events.clear();
      vm.setMemslot({ ...SLOT, flags: LOG });
      const kinds = new Set([...here.engine.events.drain()].map(({ kind }) => kind));
      expect([...kinds].filter((kind) => kind.startsWith("tlbi"))).toEqual(["tlbiVmid"]);
    });

    it("P-8: the IPA size is the host's, whatever is asked", () => {
      const pkvm = here.keep(here.engine.pkvm({ memory: MEMORY, generation, paBits: 42 }));
      for (const ipaBits of [32, 36, 42, 48]) {
        const vm = here.engine.vm({ pkvm, memory, ipaBits });
        expect([vm.ipaBits, vm.stage2.ipaBits]).toEqual([42, 42]);
        vm.dispose();
      }
      expect(errorOf(() => here.engine.vm({ pkvm, hostIpaBits: 40 })).code).toBe("BAD_OPTION");
    });

    it("P-8: slots of a guest that is not protected change as ever", () => {
      const { vm, write } = scene(here, generation);
      write(0);
      expect(vm.setMemslot({ ...SLOT, flags: LOG })).toBe("flags");
      expect(vm.setMemslot({ ...SLOT, ipa: 2 * IPA, flags: LOG })).toBe("move");
      expect(shapes(vm)).toEqual([]);
      expect(vm.setMemslot({ ...SLOT, ipa: 2 * IPA, size: 0 })).toBe("delete");
    });
  });

  it("P-2.28: without a machine there is no memcache: a VM's vCPUs have the library's cache", () => {
    const vm = here.keep(here.engine.vm({ memory }));
    vm.setMemslot(SLOT);
    const vcpu = vm.createVcpu();
    vcpu.run(() => vcpu.cpu.write32(IPA, 1));
    expect(vcpu.cachedPages).toBeGreaterThan(0);
  });
});

describe.each(MODES)("P-8: slots of a protected guest (%s)", (mode) => {
  const here = lab(mode, OPTIONS);
  const guarded = (): Scene => scene(here, "newest", { protectedGuest: true });

  it("P-8: go and move until it has run; then it is EPERM, and they stay", () => {
    const { vm, write } = guarded();
    expect(vm.setMemslot({ ...SLOT, ipa: 2 * IPA })).toBe("move");
    expect(vm.setMemslot({ ...SLOT, ipa: 2 * IPA, size: 0 })).toBe("delete");
    expect(vm.setMemslot(SLOT)).toBe("create");
    write(1);
    const before = vm.memslots();
    expect(errorOf(() => vm.setMemslot({ ...SLOT, ipa: 2 * IPA })).code).toBe("EPERM");
    expect(errorOf(() => vm.setMemslot({ ...SLOT, size: 0 })).code).toBe("EPERM");
    expect(vm.memslots()).toEqual(before);
    expect(shapes(vm).map(([at]) => at)).toEqual([1]);
    expect(vm.setMemslot({ ...SLOT, slot: 1, ipa: 2 * IPA, hva: HVA + 2 ** 30 })).toBe("create");
  });

  it.each([
    ["LOG_DIRTY_PAGES", LOG],
    ["READONLY", MemslotFlag.READONLY],
  ])("P-8: are never %s", (_name, flags) => {
    const { vm, write } = guarded();
    const other = { ...SLOT, slot: 1, ipa: 2 * IPA, hva: HVA + 2 ** 30 };
    expect(errorOf(() => vm.setMemslot({ ...other, flags })).code).toBe("EPERM");
    expect(errorOf(() => vm.setMemslot({ ...SLOT, flags })).code).toMatch(/EPERM|EINVAL/); // READONLY changes for nobody
    write(0);
    expect(errorOf(() => vm.setMemslot({ ...other, flags })).code).toBe("EPERM");
    expect(vm.memslots()).toHaveLength(1);
  });
});
