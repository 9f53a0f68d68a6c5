/** Rows M-3.16, M-3.20 to M-3.27: what each change of a memslot does, and when. */
import { describe, expect, it } from "vitest";
import type { VmCore } from "../../../src/vm/_abi.ts";
import { Engine } from "../../../src/index.ts";
import { MODES, SMALL, errorOf, lab } from "../../support.ts";
import { Guest, HVA, IPA, LOG, READONLY, expectResume } from "./support.ts";

const MIB = 2 ** 20;

describe.each(MODES)("what changes of memslots do (%s)", (mode) => {
  const here = lab(mode);

  it("M-3.20: a slot over a hole is fine, a fault there is not", () => {
    const guest = new Guest(here);
    guest.facts.everywhere = "unmapped";
    expect(errorOf(() => guest.read(IPA)).code).toBe("EFAULT");
    guest.facts.everywhere = {};
    expectResume(guest.read(IPA));
  });

  it("M-3.21: while a slot is INVALID the guest sees none; DELETE and MOVE unmap it", () => {
    const { engine } = here;
    const core = engine.context.core as unknown as VmCore;
    const guest = new Guest(here, { size: MIB });
    const region = { slot: 0, ipa: IPA, size: MIB, hva: HVA };
    guest.write(IPA);
    const move = [3 * IPA, MIB, HVA];
    move.forEach((word, at) => engine.context.setArgument(at, BigInt(word)));
    const { pointer } = guest.vm;
    expect(core.vm_region_begin(pointer, 0, 0, 2)).toBe(3); // MOVE
    expect(core.vm_region_invalidate(pointer)).toBe(0);
    const access = { size: 4 } as const;
    for (const ipa of [IPA, 3 * IPA]) {
      expect(guest.fault({ ipa, write: true, access })).toMatchObject({ reason: "mmio" });
    }
    expect(guest.facts.asked).toHaveLength(1);
    core.vm_region_end(pointer); // given up: the old slot is back
    expect(guest.vm.memslot(0)).toMatchObject(region);
    expectResume(guest.write(IPA));
    expect(guest.vm.setMemslot({ ...region, ipa: 3 * IPA })).toBe("move");
    expect(guest.leaves).toEqual([]);
    guest.write(3 * IPA);
    expect(guest.vm.setMemslot({ slot: 0, ipa: 0, size: 0, hva: 0 })).toBe("delete");
    expect(guest.leaves).toEqual([]);
  });

  it("M-3.21: a MOVE that fails leaves the slot valid and its mappings gone", () => {
    const guest = new Guest(here, { size: MIB, ipaBits: 40 });
    const region = { slot: 0, size: MIB, hva: HVA };
    const fails: [number, object, string][] = [
      [0, {}, "EFAULT"],
      [LOG, { pfnMapped: true }, "EINVAL"],
    ];
    for (const [flags, inspection, code] of fails) {
      guest.write(IPA + 4096);
      expect(guest.leaf(IPA + 4096)).toBeDefined();
      guest.facts.inspection = inspection;
      const ipa = code === "EFAULT" ? 2 ** 40 : 2 * IPA;
      expect(errorOf(() => guest.vm.setMemslot({ ...region, ipa, flags })).code).toBe(code);
      expect(guest.vm.memslot(0)).toMatchObject({ ipa: IPA, size: MIB });
      expect(guest.leaves).toEqual([]);
    }
    expectResume(guest.write(IPA + 4096));
    expect(guest.leaf(IPA + 4096)).toBeDefined();
  });

  it("M-3.22: CREATE and FLAGS unmap nothing; MOVE brings no mapping along", () => {
    const guest = new Guest(here, { size: MIB });
    const region = { slot: 0, ipa: IPA, size: MIB, hva: HVA };
    guest.write(IPA);
    guest.vm.setMemslot({ slot: 1, ipa: IPA + MIB, size: MIB, hva: HVA });
    guest.vm.setMemslot({ ...region, flags: LOG });
    guest.vm.setMemslot(region);
    expect(guest.leaf(IPA)).toBeDefined();
    guest.vm.setMemslot({ ...region, ipa: 2 * IPA });
    expect(guest.leaves).toEqual([]);
    guest.write(2 * IPA);
    expect(guest.leaves.map(({ ipa }) => ipa)).toEqual([2 * IPA]);
  });

  it("M-3.23: nothing is published while an invalidation is in flight", async () => {
    const guest = new Guest(here, { size: MIB });
    const { vm } = guest;
    const region = { slot: 1, ipa: 2 * IPA, size: MIB, hva: HVA };
    vm.invalidateStart({ hva: HVA + 2 ** 40, size: 4096 }); // no slot is there: active all the same
    expect(vm.state).toMatchObject({ active: 1, inProgress: 0 });
    expect(errorOf(() => vm.setMemslot(region)).code).toBe("EDEADLK"); // it is this thread's own
    if (mode === "threads") {
      const other = await Engine.attach(here.engine.handle, { patience: 20 });
      const attached = other.attachVm(vm.handle, { memory: guest.facts });
      expect(errorOf(() => attached.setMemslot(region)).code).toBe("ETIMEDOUT");
      attached.dispose();
      other.dispose();
    }
    expect(vm.memslots()).toHaveLength(1);
    vm.invalidateEnd({ hva: HVA + 2 ** 40, size: 4096 });
    expect(vm.setMemslot(region)).toBe("create");
  });

  it("M-3.24: the generation grows with each publish, and no final one comes twice", () => {
    const { vm } = new Guest(here, { size: 0 });
    const region = { slot: 0, ipa: IPA, size: MIB, hva: HVA };
    const seen = [vm.state.generation];
    const changes = [
      region,
      { ...region, flags: LOG },
      { ...region, ipa: 2 * IPA },
      { ...region, size: 0 },
    ];
    for (let round = 0; round < 3; round++) {
      for (const change of changes) {
        vm.setMemslot(change);
        seen.push(vm.state.generation);
      }
    }
    expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b));
    expect(seen.filter((generation) => generation % 2 === 1)).toEqual([]); // odd: in progress
  });

  it.each([false, true])(
    "M-3.25: bitmaps come and go with LOG; initially set: %s",
    (initiallySet) => {
      const guest = new Guest(here, { size: 0 });
      const { vm } = guest;
      if (initiallySet) vm.manualDirtyLogProtect({ initiallySet });
      const pages = 100; // no multiple of 64
      const region = { slot: 0, ipa: IPA, size: pages * 4096, hva: HVA };
      vm.setMemslot(region);
      const { used } = here.engine.memoryUsage();
      for (let round = 0; round < 2; round++) {
        vm.setMemslot({ ...region, flags: LOG });
        const log = vm.getDirtyLog(0);
        expect(log).toMatchObject({ pages, count: initiallySet ? pages : 0 });
        expect([...log.bits]).toEqual(initiallySet ? [2n ** 64n - 1n, 2n ** 36n - 1n] : [0n, 0n]);
        vm.setMemslot(region);
        expect(errorOf(() => vm.getDirtyLog(0)).code).toBe("ENOENT");
        expect(here.engine.memoryUsage().used).toBe(used);
      }
      vm.setMemslot({ ...region, flags: LOG });
      vm.markDirty(IPA + 4096 * 7);
      const before = [...vm.getDirtyLog(0, { view: false })];
      vm.markDirty(IPA + 4096 * 70);
      vm.setMemslot({ ...region, ipa: 2 * IPA, flags: LOG });
      const moved = [...vm.getDirtyLog(0)];
      expect(moved).toEqual(initiallySet ? before : [70]);
      vm.setMemslot({ ...region, size: 0 });
      expect(here.engine.memoryUsage().used).toBeLessThanOrEqual(used);
    },
  );

  it("M-3.26: two slots over one backing: a notifier visits both", () => {
    const guest = new Guest(here, { size: MIB });
    guest.vm.setMemslot({ slot: 1, ipa: 2 * IPA, size: MIB, hva: HVA });
    guest.write(IPA + 4096);
    guest.write(2 * IPA + 4096);
    guest.write(2 * IPA + 8192);
    expect(guest.leaf(IPA + 4096)?.pa).toBe(guest.leaf(2 * IPA + 4096)?.pa);
    guest.vm.invalidate({ hva: HVA + 4096, size: 4096 }, () => undefined);
    expect(guest.leaves.map(({ ipa }) => ipa)).toEqual([2 * IPA + 8192]);
  });

  const kinds: [string, number][] = [
    ["READONLY", READONLY],
    ["READONLY and LOG", READONLY | LOG],
  ];
  it.each(kinds)(
    "M-3.27: %s: no W, a write is MMIO, and it does not count as logging",
    (_, flags) => {
      const guest = new Guest(here, { flags });
      guest.facts.everywhere = { hostSize: guest.block };
      expectResume(guest.read(IPA));
      expect(guest.leaf(IPA)).toMatchObject({ prot: 4, size: guest.block });
      expectResume(guest.execDenied(IPA, 2));
      expect(guest.leaf(IPA)).toMatchObject({ prot: 5, size: guest.block });
      const write = { ipa: IPA + 8, write: true, fsc: 0x0e, access: { size: 8 as const } };
      expect(guest.fault(write)).toMatchObject({ reason: "mmio", address: IPA + 8, write: true });
      expect(guest.facts.dirty).toEqual([]);
    },
  );
});

describe("M-3.x over engines of little memory", () => {
  const here = lab("single", { ...SMALL, maxTablePages: 64 });
  it("M-3.16: whatever is missing, nothing changes", () => {
    const guest = new Guest(here, { size: MIB });
    const { engine } = here;
    const { used } = engine.memoryUsage();
    const before = guest.vm.memslots();
    for (let budget = used; budget < used + 8; budget++) {
      engine.tableBudget = budget;
      const change = { slot: 1, ipa: 2 * IPA, size: MIB, hva: HVA, flags: LOG };
      try {
        guest.vm.setMemslot(change);
        guest.vm.setMemslot({ ...change, size: 0 });
      } catch (error) {
        expect(error).toMatchObject({ code: "ENOMEM" });
        expect(guest.vm.memslots()).toEqual(before);
      }
    }
    engine.tableBudget = 64;
  });
});
