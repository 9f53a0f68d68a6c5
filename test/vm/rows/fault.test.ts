/** Rows M-5.x: the decision table of a fault, from the backing's answer to the library call. */
import { describe, expect, it } from "vitest";
import { Prot } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import {
  GRANULES,
  Guest,
  HVA,
  INSTRUCTION_ABORT,
  IPA,
  LOG,
  PA,
  PERMISSION,
  READONLY,
  expectResume,
} from "./support.ts";

describe.each(MODES)("faults, step by step (%s)", (mode) => {
  const here = lab(mode);

  it("M-5.1: a permission fault that neither writes nor fetches", () => {
    const guest = new Guest(here);
    guest.write(IPA);
    const asked = guest.facts.asked.length;
    expect(errorOf(() => guest.fault({ ipa: IPA, fsc: PERMISSION + 3 })).code).toBe("EFAULT");
    expect(guest.facts.asked).toHaveLength(asked);
  });

  it.each(GRANULES)(
    "M-5.2: the size of a permission fault's leaf goes by its level, %s",
    (granule) => {
      const guest = new Guest(here, { granule });
      guest.facts.everywhere = { writable: false, hostSize: guest.block };
      guest.read(IPA);
      guest.facts.set(HVA + guest.block, { writable: false });
      guest.read(IPA + guest.block);
      guest.facts.everywhere = { hostSize: guest.block };
      expectResume(guest.writeDenied(IPA, 2));
      expect(guest.vcpu.lastCall).toMatchObject({ call: "relax", result: 0 });
      expectResume(guest.execDenied(IPA + guest.block));
      expect(guest.vcpu.lastCall).toMatchObject({ call: "relax", result: 0 });
    },
  );

  it("M-5.2: level 1 is a block of 1 GiB with 4K pages", () => {
    const guest = new Guest(here, { size: 2 ** 30 });
    guest.facts.everywhere = { writable: false, vmaPageSize: 2 ** 30 };
    guest.read(IPA + 0x5000);
    expect(guest.leaf(IPA)).toMatchObject({ size: 2 ** 30, level: 1 });
    guest.facts.everywhere = { vmaPageSize: 2 ** 30 };
    expectResume(guest.writeDenied(IPA + 0x5000, 1));
    expect(guest.vcpu.lastCall).toMatchObject({ call: "relax", result: 0 });
    expect(guest.leaf(IPA)).toMatchObject({ size: 2 ** 30, prot: Prot.RW });
  });

  it("M-5.3, M-5.71: without pages for the tables: ENOMEM, before the backing is asked; nothing changes", () => {
    const guest = new Guest(here);
    const { engine } = here;
    const { used } = engine.memoryUsage();
    engine.tableBudget = used + 1; // the minimum is 2
    for (const fault of [() => guest.read(IPA), () => guest.write(IPA), () => guest.exec(IPA)]) {
      expect(errorOf(fault).code).toBe("ENOMEM");
    }
    expect(guest.facts.asked).toEqual([]);
    expect(guest.vm.stage2.counters()).toMatchObject({ leafCount: 0, tables: 0 });
    engine.tableBudget = used + 2;
    expectResume(guest.write(IPA));
    engine.tableBudget = 4096;
  });

  it("M-5.4: no VMA at the hva", () => {
    const guest = new Guest(here, { flags: LOG });
    guest.facts.everywhere = "unmapped";
    for (const fault of [() => guest.read(IPA), () => guest.write(IPA), () => guest.exec(IPA)]) {
      expect(errorOf(fault).code).toBe("EFAULT");
    }
    expect(guest.leaves).toEqual([]);
    expect(guest.dirtyPages()).toEqual([]);
  });

  it("M-5.21: the sequence count is read before the backing is asked", () => {
    const guest = new Guest(here);
    guest.facts.meanwhile = () => guest.vm.invalidate({ hva: HVA, size: 1 }, () => undefined);
    expectResume(guest.write(IPA));
    expect(guest.vcpu.lastCall).toMatchObject({ call: "none", retried: true });
    expect(guest.leaves).toEqual([]);
    guest.facts.meanwhile = undefined;
    guest.vm.invalidate({ hva: HVA, size: 1 }, () => undefined); // long before
    expectResume(guest.write(IPA));
    expect(guest.leaves).toHaveLength(1);
  });

  it.each(GRANULES)(
    "M-5.30: a poisoned page: SIGBUS with the size, the guest goes on, %s",
    (granule) => {
      const guest = new Guest(here, { granule, flags: LOG });
      guest.facts.everywhere = "poisoned";
      const lsb = Math.log2(guest.page);
      const hva = HVA + 3 * guest.page;
      expect(guest.write(IPA + 3 * guest.page + 0x800)).toEqual({
        ...{ reason: "poisoned", ret: 1, hva, lsb },
      });
      expect(guest.leaves).toEqual([]);
      expect(guest.dirtyPages()).toEqual([]);
    },
  );

  it("M-5.30: of a hugetlb page all of it is lost, where the slot has it whole", () => {
    const guest = new Guest(here);
    const { block } = guest;
    guest.facts.everywhere = { poisoned: true, vmaPageSize: block };
    expect(guest.read(IPA + block + 0x5000)).toMatchObject({ reason: "poisoned", lsb: 21 });
    guest.vm.setMemslot({ slot: 0, ipa: IPA, size: 4 * block, hva: HVA, flags: LOG });
    expect(guest.read(IPA + block + 0x5000)).toMatchObject({ reason: "poisoned", lsb: 12 });
    expect(guest.leaves).toEqual([]);
  });

  it("M-5.31: no page to be had, or a write to a read-only VMA", () => {
    const guest = new Guest(here, { flags: LOG });
    guest.facts.everywhere = "error";
    expect(errorOf(() => guest.write(IPA)).code).toBe("EFAULT");
    expect(errorOf(() => guest.read(IPA)).code).toBe("EFAULT");
    expect(guest.leaves).toEqual([]);
    expect(guest.dirtyPages()).toEqual([]);
  });

  it("M-5.31: a page that is not writable is no answer to a write", () => {
    const guest = new Guest(here);
    guest.facts.everywhere = { writable: false };
    expect(errorOf(() => guest.write(IPA)).code).toBe("EFAULT");
    expect(guest.leaves).toEqual([]);
  });

  it("M-5.32: a write fault gets a page that may be written", () => {
    const guest = new Guest(here);
    expectResume(guest.write(IPA));
    expect(guest.facts.asked[0]).toMatchObject({ hva: HVA, write: true, exec: false });
    expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.RW, pa: PA, accessed: true });
  });

  it("M-5.33: what could be written at once is mapped so by reads and fetches, but in READONLY slots", () => {
    const guest = new Guest(here);
    guest.read(IPA);
    guest.exec(IPA + 4096);
    expect(guest.leaves.map(({ prot }) => prot)).toEqual([Prot.RW, Prot.RWX]);
    const readonly = new Guest(here, { flags: READONLY });
    readonly.read(IPA);
    readonly.exec(IPA + 4096);
    expect(readonly.leaves.map(({ prot }) => prot)).toEqual([Prot.R, Prot.RX]);
    expect(readonly.facts.asked[0]).toMatchObject({ readonly: true });
    expect(readonly.facts.dirty).toEqual([]);
  });

  it("M-5.34: what cannot be written now is mapped without W", () => {
    const guest = new Guest(here);
    guest.facts.everywhere = { writable: false };
    guest.read(IPA);
    guest.exec(IPA + 4096);
    expect(guest.leaves.map(({ prot }) => prot)).toEqual([Prot.R, Prot.RX]);
    expect(guest.facts.dirty).toEqual([]);
  });

  it("M-5.35: what is no ordinary memory is device memory, writable or not", () => {
    const guest = new Guest(here);
    guest.facts.everywhere = { device: true };
    guest.read(IPA);
    guest.facts.everywhere = { device: true, writable: false };
    guest.read(IPA + 4096);
    guest.facts.everywhere = { device: true, normalNc: true };
    guest.write(IPA + 8192);
    expect(guest.leaves.map(({ prot }) => prot)).toEqual([
      Prot.RW | Prot.DEVICE,
      Prot.R | Prot.DEVICE,
      Prot.RW | Prot.NORMAL_NC,
    ]);
  });

  it("M-5.36: while logging, reads and fetches of memory map without W; device keeps it", () => {
    const guest = new Guest(here, { flags: LOG });
    guest.read(IPA);
    guest.exec(IPA + 4096);
    guest.facts.everywhere = { device: true };
    guest.read(IPA + 8192);
    const prots = guest.leaves.map(({ prot }) => prot);
    expect(prots).toEqual([Prot.R, Prot.RX, Prot.RW | Prot.DEVICE]);
    expect(guest.dirtyPages()).toEqual([2]); // writable, so it counts
  });

  it("M-5.37: a fetch from device memory is not mapped", () => {
    const guest = new Guest(here);
    guest.facts.everywhere = { device: true };
    for (const fsc of [7, PERMISSION + 3]) {
      const shape = { ipa: IPA, ec: INSTRUCTION_ABORT, fsc };
      expect(guest.fault(shape)).toMatchObject({ reason: "inject", instruction: true });
    }
    expect(guest.leaves).toEqual([]);
  });

  it("M-5.42: with MTE the VMA must allow it, but for devices and permission faults", () => {
    const guest = new Guest(here, { mte: true });
    guest.facts.everywhere = { noMte: true };
    expect(errorOf(() => guest.read(IPA)).code).toBe("EFAULT");
    expect(guest.leaves).toEqual([]);
    guest.facts.everywhere = { noMte: true, device: true };
    expectResume(guest.read(IPA));
    guest.facts.everywhere = { writable: false };
    guest.read(IPA + 4096);
    guest.facts.everywhere = { noMte: true };
    expectResume(guest.writeDenied(IPA + 4096));
    const plain = new Guest(here);
    plain.facts.everywhere = { noMte: true };
    expectResume(plain.read(IPA));
  });

  it("M-5.42: X comes with a fetch; where instruction caches need no care (DIC), with all memory", () => {
    const guest = new Guest(here, { dic: true });
    guest.read(IPA);
    guest.facts.everywhere = { writable: false };
    guest.read(IPA + 4096);
    guest.facts.everywhere = { device: true };
    guest.read(IPA + 8192);
    expect(guest.leaves.map(({ prot }) => prot)).toEqual([
      ...[Prot.RWX, Prot.RX, Prot.RW | Prot.DEVICE],
    ]);
  });
});
