import { describe, expect, it } from "vitest";
import { Engine, MemslotFlag, type VmOptions } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { HVA, IPA, PAGE, RAM, WITH_RAM, dataAbort, page, scene } from "./support.ts";

const resolve = page;

/** Options that are none, by what is the matter. */
const BAD_OPTIONS: [string, object | null][] = [
  ["no object", null],
  ["an unknown name", { ipabits: 40 }],
  ["an option of stand-alone tables", { locking: true }],
  ["another one", { keepPermissions: true }],
  ["a visitor's", { forcePages: () => true }],
  ["an IPA size that is no number", { ipaBits: "40" }],
  ["an IPA size beyond 8 bits", { ipaBits: 256 }],
  ["both of size and type", { ipaBits: 40, type: 40 }],
  ["a type beyond 32 bits", { type: 2 ** 32 }],
  ["a fraction of a type", { type: 0.5 }],
  ["a host limit below 32", { hostIpaBits: 31 }],
  ["a host limit beyond its PARange", { parange: 2, hostIpaBits: 48 }],
  ["52 bits without LPA2", { hostIpaBits: 52 }],
  ["an unknown granule", { granule: "8K" }],
  ["no backing", { memory: {} }],
  ["a function for a backing", { memory: () => ({ pa: 0, writable: true }) }],
  ["half a bus", { bus: { read: () => 0n } }],
  ["no flag", { protected: 1 }],
  ["no flag either", { strictFaults: "yes" }],
  ["no list of groups", { vmEvents: "fault" }],
  ["an unknown group", { vmEvents: ["faults"] }],
  ["an unknown group of the table", { events: ["dirty"] }],
];

describe.each(MODES)("making a VM (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it.each(BAD_OPTIONS)("refuses %s", (_, options) => {
    const error = errorOf(() => here.engine.vm(options as VmOptions));
    expect(error.code).toBe("BAD_OPTION");
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it.each([
    [{}, 40],
    [{ ipaBits: 0 }, 40],
    [{ type: 33 }, 33],
    [{ ipaBits: 48 }, 48],
    [{ ipaBits: 52, lpa2: true }, 52],
    [{ ipaBits: 52, granule: "64K" }, 52],
    [{ ipaBits: 36, granule: "16K" }, 36],
    [{ ipaBits: 32, hostIpaBits: 36 }, 32],
    [{ ipaBits: 36, parange: 1 }, 36],
    [{ protected: true }, 48],
  ] satisfies [VmOptions, number][])("%o has %i bits", (options, bits) => {
    const vm = here.keep(here.engine.vm(options));
    expect(vm.ipaBits).toBe(bits);
    expect(vm.pageSize).toBe({ "4K": 4096, "16K": 16384, "64K": 65536 }[vm.stage2.granule]);
    expect(vm.vmid).toBe(0);
    expect(vm.memslots()).toEqual([]);
  });

  it.each([{ ipaBits: 31 }, { ipaBits: 49 }, { type: 256 }, { hostIpaBits: 36 }])(
    "the machine type of %o is refused by the host",
    (options) => {
      expect(errorOf(() => here.engine.vm(options)).code).toBe("EINVAL");
      expect(here.engine.memoryUsage().used).toBe(0);
    },
  );

  it("does not let others run its page table", () => {
    const { vm } = scene(here);
    expect(errorOf(() => here.engine.vcpu(vm.stage2 as never)).code).toBe("BAD_OPTION");
  });
});

describe.each(MODES)("vCPUs and CPUs (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("get the lowest free id, or the one that is asked for", () => {
    const { vm, vcpu } = scene(here);
    const second = vm.createVcpu();
    expect([vcpu.id, second.id, vm.createVcpu({ id: 511 }).id]).toEqual([0, 1, 511]);
    expect(errorOf(() => vm.createVcpu({ id: 1 })).code).toBe("EEXIST");
    expect(errorOf(() => vm.createVcpu({ id: 512 })).code).toBe("EINVAL");
    expect(errorOf(() => vm.createVcpu({ id: -1 })).code).toBe("BAD_OPTION");
    second.dispose();
    second.dispose();
    expect(vm.createVcpu().id).toBe(1);
    expect(vm.vcpus.map(({ id }) => id)).toEqual([0, 511, 1]);
    expect(errorOf(() => second.handleAbort(dataAbort(IPA))).code).toBe("DISPOSED");
  });

  it("share a CPU, one at a time, and drop what the other left in its TLB", () => {
    const { vm } = scene(here);
    const cpu = here.keep(here.engine.vcpu());
    const [a, b] = [vm.createVcpu({ cpu }), vm.createVcpu({ cpu })];
    expect([a.loaded, a.cpu, a.vmid]).toEqual([false, cpu, 0]);
    const first = a.load();
    expect(first).toMatchObject({ changed: true, invalidated: false, rolledOver: false });
    expect(first.vmid).toBe(vm.vmid);
    expect(a.run(() => cpu.write32(IPA, 7))).toBeUndefined();
    expect(errorOf(() => b.load()).code).toBe("EBUSY");
    a.put();
    a.put();
    expect(b.load()).toMatchObject({ vmid: first.vmid, invalidated: true });
    expect(b.run(() => cpu.read32(IPA))).toBe(7);
    const own = here.keep(here.engine.vcpu());
    expect(b.load(own)).toMatchObject({ vmid: first.vmid, changed: false });
    expect(b.cpu).toBe(own);
    expect(a.load().invalidated).toBe(true);
  });

  it("share a CPU between VMs", () => {
    const [one, two] = [scene(here), scene(here)];
    const cpu = here.keep(here.engine.vcpu());
    two.memory.answer = ({ hva }) => ({ pa: RAM + 0x8_0000 + (hva % PAGE), writable: true });
    const [a, b] = [one.vm.createVcpu({ cpu }), two.vm.createVcpu({ cpu })];
    for (const [vcpu, value] of [
      [a, 1],
      [b, 2],
    ] as const) {
      vcpu.load();
      vcpu.run(() => cpu.write32(IPA, value));
      vcpu.put();
    }
    a.load();
    expect(a.run(() => cpu.read32(IPA))).toBe(1);
    expect(one.vm.vmid).not.toBe(two.vm.vmid);
  });

  it("take options for a CPU of their own only", async () => {
    const { vm } = scene(here);
    const cpu = here.keep(here.engine.vcpu());
    expect(vm.createVcpu({ tlb: false, registers: { mairEl1: 5n } }).cpu.registers.mairEl1).toBe(
      5n,
    );
    expect(errorOf(() => vm.createVcpu({ cpu, tlb: false })).code).toBe("BAD_OPTION");
    expect(errorOf(() => vm.createVcpu({ cpu: {} as never })).code).toBe("BAD_OPTION");
    expect(errorOf(() => vm.createVcpu({ tbl: false } as never)).code).toBe("BAD_OPTION");
    expect(errorOf(() => vm.createVcpu({ registers: { mairEl1: 5 } } as never)).code).toBe(
      "BAD_OPTION",
    );
    const other = await Engine.create({ mode, maxTablePages: 64 });
    const foreign = other.vcpu();
    expect(errorOf(() => vm.createVcpu({ cpu: foreign })).code).toBe("FOREIGN");
    other.dispose();
    expect(vm.vcpus).toHaveLength(2);
    expect(vm.createVcpu().id).toBe(2);
  });

  it("survive the end of a shared CPU", () => {
    const { vm } = scene(here);
    const cpu = here.engine.vcpu();
    const vcpu = vm.createVcpu({ cpu });
    vcpu.load();
    cpu.dispose();
    expect(errorOf(() => vcpu.handleAbort(dataAbort(IPA))).code).toBe("DISPOSED");
    vcpu.put();
    const next = here.keep(here.engine.vcpu());
    vcpu.load(next);
    expect(vcpu.run(() => next.write32(IPA, 1))).toBeUndefined();
  });

  it("keep table pages for their faults", () => {
    const { vcpu } = scene(here);
    expect(vcpu.cachedPages).toBe(0);
    vcpu.topup(3);
    expect(vcpu.cachedPages).toBe(40);
    expect(errorOf(() => vcpu.topup(41, 64)).code).toBe("EIO");
    vcpu.freeCache();
    expect(vcpu.cachedPages).toBe(0);
    expect(errorOf(() => vcpu.topup(1, 0)).code).toBe("EIO");
    vcpu.topup(1, 8);
    expect(vcpu.cachedPages).toBe(8);
    expect(errorOf(() => vcpu.topup(-1)).code).toBe("BAD_OPTION");
  });

  it("need room for their numbers", async () => {
    const narrow = await Engine.create({ mode, maxTablePages: 2048, maxObjects: 64, vmidBits: 8 });
    const vms = Array.from({ length: 3 }, () => narrow.vm({ vmidBits: 8 }));
    expect(vms.map((vm) => vm.createVcpu().vmid)).toEqual([1, 2, 3]);
    for (const vm of vms) vm.dispose();
    expect(narrow.memoryUsage().used).toBe(0);
    narrow.dispose();
    const vm = here.keep(here.engine.vm({ vmidBits: 8 }));
    expect(errorOf(() => vm.createVcpu()).code).toBe("EINVAL");
    expect(vm.vcpus).toEqual([]);
  });
});

describe.each(MODES)("what a VM shows (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("its table, as the kernel's debug file", () => {
    const { vm, vcpu, memory } = scene(here, {}, 2 ** 22);
    memory.answer = ({ hva }) =>
      hva < HVA + 2 ** 21
        ? { pa: 2 ** 32 + (hva - HVA), writable: true, hostSize: 2 ** 21 }
        : { pa: 2 ** 33 + (hva - HVA), writable: hva % (2 * PAGE) === 0 };
    vcpu.handleAbort(dataAbort(IPA));
    for (const number of [512, 513, 514, 520, 521])
      vcpu.handleAbort(dataAbort(IPA + number * PAGE));
    vm.ioremap({ ipa: 0x800_0000, pa: 0x900_0000, size: 2 * PAGE });
    expect(vm.dump()).toBe(
      [
        "ipa_range: 40, stage2_levels: 3",
        "---[ Guest IPA ]---",
        "0x0000000008000000-0x0000000008002000       8K PTE R W NX AF     DEVICE",
        "0x0000000040000000-0x0000000040200000       2M PMD R W NX AF BLK",
        "0x0000000040200000-0x0000000040201000       4K PTE R W NX AF",
        "0x0000000040201000-0x0000000040202000       4K PTE R   NX AF",
        "0x0000000040202000-0x0000000040203000       4K PTE R W NX AF",
        "0x0000000040208000-0x0000000040209000       4K PTE R W NX AF",
        "0x0000000040209000-0x000000004020a000       4K PTE R   NX AF",
        "",
      ].join("\n"),
    );
    expect(vm.dump({ ipa: IPA, size: PAGE })).toContain("PMD");
    expect(vm.slotStatistics(0)).toEqual({
      pages: 1024,
      byLevel: { 1: 0, 2: 512, 3: 5 },
      mapped: 517,
      accessed: 517,
      writable: 515,
      dirty: undefined,
    });
    expect(errorOf(() => vm.slotStatistics(1)).code).toBe("ENOENT");
  });

  it("how many pages of a log are dirty, without taking them", () => {
    const { vm, vcpu } = scene(here, {}, 100 * PAGE, MemslotFlag.LOG_DIRTY_PAGES);
    for (const number of [0, 63, 64, 99]) vcpu.run(() => vcpu.cpu.write8(IPA + number * PAGE, 1));
    expect(vm.slotStatistics(0)).toMatchObject({ mapped: 4, dirty: 4 });
    expect(vm.getDirtyLog(0).count).toBe(4);
    expect(vm.slotStatistics(0)).toMatchObject({ writable: 0, dirty: 0 });
  });

  it("counts, over its vCPUs", () => {
    const { vm, vcpu } = scene(here);
    const other = vm.createVcpu();
    vcpu.run(() => vcpu.cpu.write32(IPA, 1));
    other.run(() => other.cpu.write32(IPA + PAGE, 1));
    expect(vcpu.statistics).toMatchObject({ aborts: 1, maps: 1, translationFaults: 1, loads: 1 });
    expect(vm.statistics).toMatchObject({
      aborts: 2,
      maps: 2,
      slots: 1,
      pages: 256,
      tablePages: 4,
    });
    expect(vm.state).toMatchObject({ seq: 0, inProgress: 0, active: 0, slots: 1, pages: 256 });
    const { generation } = vm.state;
    vm.setMemslot({ slot: 1, ipa: 0, size: PAGE, hva: 0 });
    expect(vm.state.generation).toBeGreaterThan(generation);
    expect(vm.state.generation % 2).toBe(0);
  });

  it("its own events, and keeps those of its neighbours for them", () => {
    const options: VmOptions = { vmEvents: ["map", "dirty"], events: ["maintenance"] };
    const [one, two] = [scene(here, options), scene(here, options)];
    expect([...one.vm.events(), ...two.vm.events()].filter(({ kind }) => kind === "map")).toEqual(
      [],
    );
    const loose = here.keep(here.engine.stage2({ events: ["maintenance"] }));
    one.vcpu.handleAbort(dataAbort(IPA));
    two.vcpu.handleAbort(dataAbort(IPA + PAGE));
    one.vm.invalidate({ hva: HVA, size: 1 }, () => {});
    loose.tlbFlushRange({ ipa: 0, size: PAGE });
    const seen = [...one.vm.events()].filter(({ kind }) => kind === "map" || kind === "tlbiIpa");
    const map = { vm: one.vm.number, vcpu: 0, ipa: IPA, size: PAGE, prot: 6, result: 0 };
    const tlbi = { kind: "tlbiIpa", vmid: one.vm.vmid, ipa: IPA }; // of the page, and of its tables
    expect(seen).toMatchObject([{ kind: "map", ...map }, tlbi, tlbi, tlbi]);
    const others = [...two.vm.events()].filter(({ kind }) => kind === "map");
    expect(others).toMatchObject([{ vm: two.vm.number, ipa: IPA + PAGE }]);
    expect([...two.vm.events(), ...one.vm.events()]).toEqual([]);
    one.vm.setVmEvents([]);
    one.vm.stage2.setEvents([]);
    one.vcpu.handleAbort(dataAbort(IPA));
    expect([...one.vm.events()]).toEqual([]);
    expect(errorOf(() => one.vm.setVmEvents(["all"] as never)).code).toBe("BAD_OPTION");
  });

  it("which slot is where", () => {
    const { vm } = scene(here);
    vm.setMemslot({ slot: 7, ipa: 0n, size: BigInt(PAGE), hva: HVA, flags: 3 });
    expect(vm.memslots().map(({ slot }) => slot)).toEqual([7, 0]);
    const slot = { slot: 7, ipa: 0, size: PAGE, hva: HVA, flags: 3, logging: true, invalid: false };
    expect(vm.memslot(7)).toEqual(slot);
    expect(vm.memslotOf(PAGE - 1)).toEqual(slot);
    expect([vm.memslotOf(PAGE), vm.memslot(1), vm.memslot(40_000)]).toEqual(
      Array(3).fill(undefined),
    );
    expect(errorOf(() => vm.memslot(-1)).code).toBe("BAD_OPTION");
    expect(errorOf(() => vm.memslotOf(-1)).code).toBe("BAD_ADDRESS");
  });
});

describe.each(MODES)("what only KVM's callers do (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);
  const flushes = () =>
    [...here.engine.events.drain()].filter(({ kind }) => kind === "flush").length;

  it("flushes when a guest turns its caches on or off, while that is trapped", async () => {
    const { vm, vcpu } = scene(here, { vmEvents: ["range"] });
    vcpu.handleAbort(dataAbort(IPA));
    expect(vm.setCaches(vcpu, false)).toBe(false);
    expect(vm.setCaches(vcpu, true)).toBe(true);
    expect(flushes()).toBe(1);
    expect(vm.setCaches(vcpu, false)).toBe(false); // not trapped any more
    expect(vm.setWay(vcpu)).toBe(true);
    expect(vm.setWay(vcpu)).toBe(false);
    expect(await vm.setCachesAsync(vcpu, true)).toBe(true);
    expect(flushes()).toBe(2);
    const other = scene(here);
    expect(errorOf(() => vm.setWay(other.vcpu)).code).toBe("FOREIGN");
  });

  it("has nothing to flush with FWB", () => {
    const { vm, vcpu } = scene(here, { fwb: true, vmEvents: ["range"] });
    vcpu.handleAbort(dataAbort(IPA));
    expect([vm.setCaches(vcpu, true), vm.setCaches(vcpu, false), vm.setWay(vcpu)]).toEqual([
      false,
      false,
      false,
    ]);
    expect(flushes()).toBe(0);
  });

  it("unmaps what is ordinary memory, and leaves devices", async () => {
    const { vm, vcpu, memory } = scene(here);
    for (let number = 0; number < 8; number++) vcpu.handleAbort(dataAbort(IPA + number * PAGE));
    Object.assign(memory, {
      mapped: () => [
        { hva: HVA - PAGE, size: 3 * PAGE },
        { hva: HVA + 5 * PAGE + 1, size: 1 },
        { hva: 0, size: PAGE },
      ],
    });
    vm.unmapAll();
    expect([...vm.stage2.leaves()].map(({ ipa }) => (ipa - IPA) / PAGE)).toEqual([2, 3, 4, 6, 7]);
    Object.assign(memory, { mapped: undefined });
    await vm.unmapAllAsync();
    expect(vm.stage2.counters().leafCount).toBe(0);
    Object.assign(memory, { mapped: () => [{ hva: -1, size: 1 }] });
    expect(errorOf(() => vm.unmapAll()).code).toBe("BAD_ADDRESS");
  });

  it("refuses parts of pages, and bad devices", async () => {
    const { vm } = scene(here);
    expect(errorOf(() => vm.unmapRange({ ipa: IPA, size: 1 })).code).toBe("EINVAL");
    expect(errorOf(() => vm.unmapRange({ ipa: -1, size: PAGE })).code).toBe("BAD_ADDRESS");
    expect(errorOf(() => vm.flushRange({ ipa: IPA, size: 0 })).code).toBe("BAD_SIZE");
    expect(errorOf(() => vm.invalidateStart({ hva: HVA, size: 0 })).code).toBe("BAD_SIZE");
    expect(errorOf(() => vm.clearYoung({ hva: 0.5, size: 1 })).code).toBe("BAD_ADDRESS");
    const device = { ipa: 0, pa: 0, size: PAGE };
    expect(errorOf(() => vm.ioremap({ ...device, writable: 1 as never })).code).toBe("BAD_OPTION");
    expect(errorOf(() => vm.ioremap({ ...device, pa: -1 })).code).toBe("BAD_ADDRESS");
    expect(errorOf(() => vm.ioremap(undefined as never)).code).toBe("BAD_OPTION");
    await vm.ioremapAsync({ ...device, pa: RAM, size: 9 * PAGE, writable: false });
    expect(vm.stage2.counters().leafCount).toBe(9);
    const guarded = here.keep(here.engine.vm({ protected: true }));
    expect(errorOf(() => guarded.ioremap(device)).code).toBe("EPERM");
  });

  it("splits in its chunks", async () => {
    const { vm, vcpu, memory } = scene(here, {}, 0);
    expect(vm.eagerSplitSizes).toEqual([2 ** 12, 2 ** 21, 2 ** 30]);
    vm.eagerSplitChunk = 2 ** 21;
    expect(vm.eagerSplitChunk).toBe(2 ** 21);
    expect(errorOf(() => (vm.eagerSplitChunk = 2 ** 20)).code).toBe("EINVAL");
    vm.setMemslot({ slot: 0, ipa: IPA, size: 2 ** 23, hva: HVA });
    memory.answer = ({ hva }) => ({ pa: 2 ** 32 + (hva - HVA), writable: true, hostSize: 2 ** 21 });
    for (const block of [0, 1, 2, 3]) vcpu.handleAbort(dataAbort(IPA + block * 2 ** 21));
    vm.splitRange({ ipa: IPA, size: 2 ** 21 });
    expect(vm.stage2.counters().leaves).toMatchObject({ 2: 3, 3: 512 });
    await vm.splitRangeAsync({ ipa: IPA, size: 2 ** 23 });
    expect(vm.stage2.counters().leaves).toMatchObject({ 2: 0, 3: 2048 });
    expect(errorOf(() => (vm.eagerSplitChunk = 0)).code).toBe("EINVAL"); // a slot is there
  });
});

describe.each(MODES)("the end (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("of the page table leaves the slots", () => {
    const { vm, vcpu } = scene(here);
    vcpu.handleAbort(dataAbort(IPA));
    vm.release();
    vm.release();
    expect(vm.memslots()).toHaveLength(1);
    expect(errorOf(() => vm.unmapRange({ ipa: IPA, size: PAGE })).code).toBe("EINVAL");
    expect(errorOf(() => vm.stage2.counters()).code).toBe("DISPOSED");
    expect(vm.statistics.tablePages).toBe(0);
    expect(vm.dump().split("\n")).toHaveLength(3);
    expect(vm.slotStatistics(0)).toMatchObject({ mapped: 0 });
    expect(errorOf(() => vm.createVcpu()).code).toBe("EINVAL");
    vm.unmapAll();
    vm.invalidate({ hva: HVA, size: PAGE }, () => {});
    expect(vm.setMemslot({ slot: 0, ipa: IPA, size: 0 })).toBe("delete");
  });

  it("of the VM is the end of all it gave away", () => {
    const { vm, vcpu } = scene(here);
    const { stage2 } = vm;
    vm.dispose();
    vm.dispose();
    expect([vm.isOpen, vcpu.isOpen]).toEqual([false, false]);
    for (const use of [
      () => vm.memslots(),
      () => vm.setMemslot({ slot: 0, ipa: 0, size: PAGE, hva: 0 }),
      () => vm.createVcpu(),
      () => vm.stage2,
      () => vm.events(),
      () => vm.handle,
      () => vm.dump(),
      () => vm.state,
      () => vm.number,
      () => stage2.counters(),
      () => vcpu.handleAbort(dataAbort(IPA)),
      () => vcpu.load(),
      () => vcpu.statistics,
      () => vcpu.cpu.read32(IPA),
    ]) {
      expect(errorOf(use).code, use.toString()).toBe("DISPOSED");
    }
    vcpu.dispose();
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it("of the engine closes all, whatever was made first", async () => {
    const engine = await Engine.create({ ...WITH_RAM, mode });
    const cpu = engine.vcpu();
    const vm = engine.vm({ memory: { resolve } });
    const shared = vm.createVcpu({ cpu });
    const own = vm.createVcpu();
    shared.load();
    engine.dispose();
    for (const use of [
      () => vm.memslots(),
      () => own.handleAbort(dataAbort(IPA)),
      () => shared.load(),
    ])
      expect(errorOf(use).code).toBe("DISPOSED");
    vm.dispose();
    own.dispose();
  });
});

describe("a VM of several threads", () => {
  const here = lab("threads", WITH_RAM);

  it("is used by all that attach, and ends with the one that made it", async () => {
    const { vm } = scene(here);
    const engine = await Engine.attach(here.engine.handle);
    const other = engine.attachVm(structuredCloneable(vm.handle), { memory: { resolve } });
    const vcpu = other.createVcpu({ id: 5 });
    expect(vcpu.run(() => vcpu.cpu.write32(IPA, 3))).toBeUndefined();
    expect(vm.stage2.lookup(IPA)).toBe(RAM);
    expect(other).toMatchObject({ ipaBits: vm.ipaBits, number: vm.number, vmid: vm.vmid });
    expect(vm.invalidate({ hva: HVA, size: 1 }, () => {})).toBeUndefined();
    expect(vcpu.run(() => vcpu.cpu.read32(IPA))).toBe(3);
    expect(vm.vcpus.map(({ id }) => id)).toEqual([0]);
    expect(errorOf(() => vm.createVcpu({ id: 5 })).code).toBe("EEXIST");
    other.dispose();
    expect([other.isOpen, vm.isOpen, vcpu.isOpen]).toEqual([false, true, false]);
    const again = engine.attachVm(vm.handle);
    expect(again.createVcpu({ id: 5 }).id).toBe(5);
    vm.dispose();
    expect([again.isOpen, again.vcpus]).toEqual([false, []]);
    expect(errorOf(() => again.memslots()).code).toBe("DISPOSED");
    again.dispose();
    engine.dispose();
  });

  it("is taken over by who attaches to own it", async () => {
    const engine = await Engine.attach(here.engine.handle);
    const vm = engine.vm({ memory: { resolve } });
    const { handle } = vm;
    engine.dispose();
    const own = here.engine.attachVm(handle, { own: true });
    expect(own.setMemslot({ slot: 0, ipa: 0, size: PAGE, hva: 0 })).toBe("create");
    own.dispose();
    expect(here.engine.memoryUsage().used).toBe(0);
    expect(errorOf(() => here.engine.attachVm(handle)).code).toBe("DISPOSED");
  });

  it("refuses handles that are none", async () => {
    const { vm } = scene(here);
    const other = await Engine.create({ ...WITH_RAM, mode: "threads" });
    const attach = (handle: unknown, options?: unknown) =>
      errorOf(() => here.engine.attachVm(handle as never, options as never)).code;
    expect(attach(undefined)).toBe("BAD_OPTION");
    expect(attach(null)).toBe("BAD_OPTION");
    expect(attach({})).toBe("BAD_OPTION");
    expect(attach(vm.stage2.handle)).toBe("BAD_OPTION");
    expect(attach({ ...vm.handle, shape: null })).toBe("BAD_OPTION");
    expect(attach({ ...vm.handle, pointer: 8 })).toBe("DISPOSED");
    expect(attach({ ...vm.handle, pointer: "x" })).toBe("DISPOSED");
    expect(attach(vm.handle, { memory: 1 })).toBe("BAD_OPTION");
    expect(attach(vm.handle, { own: 1 })).toBe("BAD_OPTION");
    expect(attach(vm.handle, { mem: 1 })).toBe("BAD_OPTION");
    expect(errorOf(() => other.attachVm(vm.handle)).code).toBe("FOREIGN");
    other.dispose();
  });
});

function structuredCloneable<T>(value: T): T {
  return structuredClone(value);
}
