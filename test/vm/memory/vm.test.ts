/** Guest memory behind real VMs: what a guest finds there, and what its page table is made of. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Granule } from "../../../src/_options.ts";
import { Access } from "../../../src/access.ts";
import { Engine } from "../../../src/engine.ts";
import { Fault } from "../../../src/fault.ts";
import { GuestMemory } from "../../../src/vm/memory/guest_memory.ts";
import type { VmVcpu } from "../../../src/vm/vcpu.ts";
import type { Vm } from "../../../src/vm/vm.ts";
import { errorOf } from "../../support.ts";
import { makeVm } from "../kind.ts";
import { BANK, HVA, MIB, MODES, PAGE, bytes } from "./support.ts";

const IPA = 0x4000_0000;
const BLOCK = 2 * MIB;

/** Calls of the library since the last look: kind and, of maps, the size and whether it may be written. */
function calls(vm: Vm): string[] {
  return [...vm.events()].flatMap((event) => {
    if (event.kind === "map" && "prot" in event) {
      return [`map ${event.size.toString(16)} ${(event.prot & 2) !== 0 ? "RW" : "R"}`];
    }
    return event.kind === "relax" || event.kind === "unmap" ? [event.kind] : [];
  });
}

describe.each(MODES)("guest memory behind a VM (%s)", (mode) => {
  let engine: Engine;
  let ram: GuestMemory;
  let vm: Vm;
  let vcpu: VmVcpu;

  beforeEach(async () => {
    engine = await Engine.create({ mode, maxTablePages: 256, guestRam: BANK });
    ram = GuestMemory.create(engine, BANK);
    vm = makeVm(engine, { memory: ram, vmEvents: ["map", "range"] }, BANK);
    ram.addVm(vm);
    vcpu = vm.createVcpu();
  });
  afterEach(() => {
    ram.release();
    expect(ram.counters.framesUsed).toBe(0);
    vm.dispose();
    expect(engine.memoryUsage().used).toBe(0);
    engine.dispose();
  });

  function slot(size: number, hva = HVA, ipa = IPA, slot = 0): void {
    vm.setMemslot({ slot, ipa, size, hva });
  }

  const store = (ipa: number, value: number): unknown =>
    vcpu.run(() => vcpu.cpu.write32(ipa, value));
  const load = (ipa: number): unknown => vcpu.run(() => vcpu.cpu.read32(ipa));

  it("a page that is read, then written takes three faults (M-5.74)", () => {
    ram.map({ hva: HVA, size: 4 * PAGE });
    slot(4 * PAGE);
    expect(load(IPA)).toBe(0);
    expect(calls(vm)).toEqual(["map 1000 R"]);
    store(IPA, 7);
    expect(calls(vm)).toEqual(["unmap", "map 1000 RW"]);
    expect(load(IPA)).toBe(7);
    expect(vcpu.statistics).toMatchObject({ aborts: 3, maps: 2, relaxes: 0, retries: 1 });
    expect(ram.counters).toMatchObject({ faults: 3, copies: 1, framesUsed: 1 });
  });

  it("a page of a file that is read, then written takes two, and is relaxed (M-5.34, M-5.50)", () => {
    ram.map({ hva: HVA, size: PAGE, kind: "file" });
    slot(PAGE);
    load(IPA);
    store(IPA, 7);
    expect(calls(vm)).toEqual(["map 1000 R", "relax"]);
    expect(vcpu.statistics.aborts).toBe(2);
    expect(ram.state(HVA)).toMatchObject({ state: "readWrite", dirty: true });
  });

  it("a shared page is copied by the write, and the guest goes on with its bytes", () => {
    ram.map({ hva: HVA, size: PAGE });
    slot(PAGE);
    store(IPA, 0x1234);
    ram.share({ hva: HVA, size: PAGE });
    const old = ram.state(HVA).pa;
    expect(load(IPA)).toBe(0x1234);
    store(IPA + 4, 5);
    expect(load(IPA)).toBe(0x1234);
    expect(ram.state(HVA).pa).not.toBe(old);
  });

  it("host and guest see each other's stores", () => {
    ram.map({ hva: HVA, size: 4 * PAGE });
    slot(4 * PAGE);
    store(IPA + PAGE - 4, 0x0403_0201);
    const into = bytes(8, 0xff);
    expect(ram.read(HVA + PAGE - 4, into)).toBe(true);
    expect([...into]).toEqual([1, 2, 3, 4, 0, 0, 0, 0]);
    expect(ram.write(HVA + PAGE - 4, bytes(8, 9))).toBe(true);
    expect(load(IPA + PAGE - 4)).toBe(0x0909_0909);
    expect(load(IPA + PAGE)).toBe(0x0909_0909);
  });

  it("a hole is found empty, and no guest keeps the old page", () => {
    ram.map({ hva: HVA, size: 2 * PAGE });
    slot(2 * PAGE);
    store(IPA, 7);
    store(IPA + PAGE, 8);
    ram.punch({ hva: HVA, size: PAGE });
    store(IPA + PAGE, 9); // still mapped: no abort
    expect(vcpu.statistics.aborts).toBe(2);
    expect(load(IPA)).toBe(0);
    expect(vcpu.statistics.aborts).toBe(3);
  });

  it("two slots over the same memory both lose a page (M-3.26)", () => {
    ram.map({ hva: HVA, size: PAGE });
    slot(PAGE);
    slot(PAGE, HVA, IPA + MIB, 1);
    store(IPA, 7);
    expect(load(IPA + MIB)).toBe(7);
    ram.punch({ hva: HVA, size: PAGE });
    expect([load(IPA), load(IPA + MIB)]).toEqual([0, 0]);
  });

  it("blocks of the host become blocks, but for the head and tail of an unaligned slot (M-5.15, M-5.41)", () => {
    ram.map({ hva: HVA + PAGE, size: 2 * BLOCK, kind: "thp" });
    slot(2 * BLOCK, HVA + PAGE, IPA + PAGE);
    store(IPA + PAGE, 1);
    store(IPA + BLOCK + 5 * PAGE, 2);
    store(IPA + 2 * BLOCK, 3);
    expect(calls(vm)).toEqual(["map 1000 RW", "map 200000 RW", "map 1000 RW"]);
    expect(load(IPA + BLOCK + 5 * PAGE)).toBe(2);
    expect(vcpu.statistics.blocks).toBe(1);
  });

  it("pages collapse into a block that the guest maps as one, with all that was written (M-5.65)", () => {
    ram.map({ hva: HVA, size: BLOCK });
    slot(BLOCK);
    for (const n of [0, 5, 511]) store(IPA + n * PAGE, n + 1);
    ram.collapse({ hva: HVA, size: BLOCK });
    calls(vm);
    expect(load(IPA + 5 * PAGE)).toBe(6);
    expect(calls(vm)).toEqual(["map 200000 RW"]);
    expect([0, 511, 7].map((n) => load(IPA + n * PAGE))).toEqual([1, 512, 0]);
    ram.splitHuge({ hva: HVA, size: BLOCK });
    expect(load(IPA)).toBe(1);
    expect(calls(vm)).toEqual(["unmap", "map 1000 RW"]);
  });

  it("huge pages are mapped whole", () => {
    ram.map({ hva: HVA, size: 2 * BLOCK, kind: "hugetlb", pageSize: BLOCK });
    slot(2 * BLOCK);
    load(IPA + 3 * PAGE);
    store(IPA + BLOCK - 4, 1);
    store(IPA + BLOCK, 1);
    expect(calls(vm)).toEqual(["map 200000 RW", "map 200000 RW"]);
    expect(ram.counters).toMatchObject({ hugePages: 2, framesUsed: 1024 });
  });

  it("poisoned pages are reported with their size (M-5.30)", () => {
    ram.map({ hva: HVA, size: PAGE });
    ram.map({ hva: HVA + BLOCK, size: BLOCK, kind: "hugetlb", pageSize: BLOCK });
    slot(PAGE);
    slot(BLOCK, HVA + BLOCK, IPA + BLOCK, 1);
    store(IPA, 1);
    ram.poison(HVA);
    ram.poison(HVA + BLOCK);
    expect(load(IPA)).toMatchObject({ reason: "poisoned", hva: HVA, lsb: 12 });
    expect(load(IPA + BLOCK + PAGE)).toMatchObject({ reason: "poisoned", lsb: 21 });
  });

  it("what is not there, or may not be written, is EFAULT (M-5.4, M-5.31)", () => {
    ram.map({ hva: HVA, size: PAGE, writable: false });
    slot(2 * PAGE);
    expect(errorOf(() => load(IPA + PAGE)).code).toBe("EFAULT");
    expect(errorOf(() => store(IPA, 1)).code).toBe("EFAULT");
    expect(load(IPA)).toBe(0);
  });

  it("devices are mapped as such, never executable, and their dirty pages cannot be logged", () => {
    ram.map({ hva: HVA, size: PAGE, kind: "device", pa: 0x900_0000 });
    const logging = { slot: 0, ipa: IPA, size: PAGE, hva: HVA, flags: 1 };
    expect(errorOf(() => vm.setMemslot(logging)).code).toBe("EINVAL");
    slot(PAGE);
    const fault = vcpu.cpu.read32(IPA);
    expect(fault).toBeInstanceOf(Fault);
    expect(vcpu.handleAbort(fault as Fault)).toMatchObject({ reason: "resume" });
    expect(vcpu.cpu.translate(IPA, Access.Read)).toBe(0x900_0000);
    const fetch = vcpu.cpu.fetch(IPA);
    expect(vcpu.handleAbort(fetch as Fault)).toMatchObject({ reason: "inject", instruction: true });
  });

  it("hooks bring pages in the middle of an abort, and may take their time", async () => {
    ram.map({ hva: HVA, size: 2 * PAGE });
    slot(2 * PAGE);
    ram.onMissing({ hva: HVA, size: PAGE }, ({ vcpu: id }) => bytes(4, 0x10 + (id ?? 99)));
    ram.onMissing({ hva: HVA + PAGE, size: PAGE }, async () => bytes(4, 0x22));
    expect(load(IPA)).toBe(0x1010_1010);
    const fault = vcpu.cpu.read32(IPA + PAGE) as Fault;
    expect(await vcpu.handleAbortAsync(fault)).toMatchObject({ reason: "resume" });
    expect(vcpu.cpu.read32(IPA + PAGE)).toBe(0x2222_2222);
    expect(ram.counters.missing).toBe(2);
  });

  it("a hook that drops the page it was asked for makes the abort begin anew (DP5)", async () => {
    let drops = 3;
    ram.map({ hva: HVA, size: PAGE });
    slot(PAGE);
    ram.onMissing({ hva: HVA, size: PAGE }, () => {
      ram.fill(HVA, bytes(4, drops));
      if (drops-- > 0) ram.punch({ hva: HVA, size: PAGE });
      return "zero";
    });
    expect(load(IPA)).toBe(0);
    expect(vcpu.statistics.retries).toBe(1);
    expect(ram.state(HVA).state).toBe("zero");
  });

  it("no frame free is ENOMEM to who runs the vCPU, and nothing stays locked", () => {
    ram.map({ hva: HVA, size: 2 * BANK.size });
    slot(2 * BANK.size);
    ram.populate({ hva: HVA, size: BANK.size, write: true });
    expect(errorOf(() => store(IPA + BANK.size, 1)).code).toBe("ENOMEM");
    ram.punch({ hva: HVA, size: PAGE });
    store(IPA + BANK.size, 5);
    expect(load(IPA + BANK.size)).toBe(5);
  });

  it("a VM that ends is told nothing more", () => {
    ram.map({ hva: HVA, size: PAGE });
    slot(PAGE);
    store(IPA, 1);
    vm.dispose();
    ram.punch({ hva: HVA, size: PAGE });
    expect(ram.state(HVA).state).toBe("absent");
  });

  it("must have pages of the same size", () => {
    const other = makeVm(engine, { granule: "64K", memory: ram }, BANK);
    expect(errorOf(() => ram.addVm(other)).code).toBe("BAD_OPTION");
    other.dispose();
  });
});

describe("page sizes", () => {
  const SIZES: [Granule, number, number][] = [
    ["16K", 14, 25],
    ["64K", 16, 29],
  ];

  it.each(SIZES)("blocks of %s pages are mapped whole", async (granule, page, block) => {
    const engine = await Engine.create({ maxTablePages: 1024 });
    const frames = { pa: 2 ** 36, size: 2 ** (block + 1) };
    const ram = GuestMemory.create(engine, {
      granule,
      frames: frames.size / 2 ** page,
      pa: frames.pa,
    });
    const vm = makeVm(engine, { granule, memory: ram, vmEvents: ["map"] }, frames);
    ram.addVm(vm);
    ram.map({ hva: HVA, size: 2 ** block, kind: "thp" });
    vm.setMemslot({ slot: 0, ipa: IPA, size: 2 ** block, hva: HVA });
    const vcpu = vm.createVcpu();
    const fault = vcpu.cpu.translate(IPA + 3 * 2 ** page, Access.Read) as Fault;
    expect(vcpu.handleAbort(fault)).toMatchObject({ reason: "resume" });
    expect(calls(vm)).toEqual([`map ${(2 ** block).toString(16)} RW`]);
    expect(vcpu.cpu.translate(IPA + 5, Access.Read)).toBe(2 ** 36 + 2 ** block + 5);
    vm.dispose();
    engine.dispose();
  });
});
