/** Which side of the mmu_lock each operation takes (the table of M-6), with another thread that has one of them. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Engine } from "../../../src/index.ts";
import { errorOf, lab } from "../../support.ts";
import { Guest, HVA, IPA, LOG, expectResume } from "./support.ts";

const RANGE = { ipa: IPA, size: 4096 };
const HOST_RANGE = { hva: HVA, size: 4096 };
const REGION = { slot: 0, ipa: IPA, size: 2 ** 23, hva: HVA };

describe("beside another thread that has a lock", () => {
  const here = lab("threads");
  let other: Engine;
  let guest: Guest;

  beforeEach(async () => {
    other = await Engine.attach(here.engine.handle);
    here.engine.patience = 10;
    guest = new Guest(here);
    guest.write(IPA);
    guest.facts.set(HVA + 4096, { writable: false });
    guest.read(IPA + 4096);
    guest.facts.set(HVA + 4096, {});
  });
  afterEach(() => other.dispose());

  /** The other thread has this side while `work` runs. */
  function holding(side: "read" | "write", work: () => void): void {
    const { core } = other.context;
    const { pointer } = guest.vm.stage2;
    expect(side === "read" ? core.lock_read(pointer) : core.lock_write(pointer)).toBe(0);
    try {
      work();
    } finally {
      if (side === "read") core.unlock_read(pointer);
      else core.unlock_write(pointer);
    }
  }

  const shared: [string, () => unknown][] = [
    ["map", () => guest.write(IPA + 8192)],
    ["relax", () => guest.writeDenied(IPA + 4096)],
    ["mkyoung", () => guest.fault({ ipa: IPA, fsc: 11 })],
  ];
  const alone: [string, () => unknown][] = [
    ["unmap", () => guest.vm.unmapRange(RANGE)],
    ["write-protect", () => guest.vm.wrprotectRange(RANGE)],
    ["flush", () => guest.vm.flushRange(RANGE)],
    ["ioremap", () => guest.vm.ioremap({ ipa: 3 * IPA, pa: 0, size: 4096, writable: true })],
    ["invalidate", () => guest.vm.invalidate(HOST_RANGE, () => undefined)],
    ["clear_young", () => guest.vm.clearYoung(HOST_RANGE)],
    ["clear_flush_young", () => guest.vm.clearFlushYoung(HOST_RANGE)],
    ["test_young", () => guest.vm.testYoung(HVA)],
    ["delete", () => guest.vm.setMemslot({ ...REGION, size: 0 })],
    ["release", () => guest.vm.release()],
  ];

  it.each(shared)("M-4.20, M-5.40: %s goes on beside readers", (_name, fault) => {
    holding("read", () => expect(fault()).toMatchObject({ reason: "resume" }));
  });

  it.each(shared)(
    "M-4.20, M-5.40: %s waits for a writer, and then has done nothing",
    (name, fault) => {
      const before = guest.leaves;
      holding("write", () => {
        expect(errorOf(fault)).toMatchObject({ code: "ETIMEDOUT" });
        expect(guest.leaves).toEqual(before);
      });
      expect(fault(), `${name}, the lock is free`).toMatchObject({ reason: "resume" });
    },
  );

  it.each(alone)("M-6.1, M-7.1: %s waits for readers, and then has done nothing", (_name, work) => {
    const before = guest.leaves;
    holding("read", () => {
      expect(errorOf(work)).toMatchObject({ code: "ETIMEDOUT" });
      expect(guest.leaves).toEqual(before);
      expectResume(guest.fault({ ipa: IPA, fsc: 11 })); // it is no writer that waits
    });
    expect(guest.vm.state).toMatchObject({ active: 0, inProgress: 0 });
    expect(guest.vm.memslots()).toHaveLength(1);
    expect(work).not.toThrow();
  });

  it("M-2.6: pages for the tables are there, and the backing was asked, before the lock", () => {
    guest.vcpu.freeCache();
    const asked = guest.facts.asked.length;
    holding("write", () => {
      expect(errorOf(() => guest.write(IPA + 2 ** 21)).code).toBe("ETIMEDOUT");
      expect(guest.vcpu.cachedPages).toBe(40);
      expect(guest.facts.asked).toHaveLength(asked + 1);
    });
    expectResume(guest.write(IPA + 2 ** 21));
  });

  it("M-7.8: where no slot is the lock is not taken", () => {
    const elsewhere = { hva: HVA - 2 ** 30, size: 4096 };
    holding("write", () => {
      guest.vm.invalidate(elsewhere, () => undefined);
      expect(guest.vm.clearYoung(elsewhere)).toBe(false);
      expect(guest.vm.testYoung(elsewhere.hva)).toBe(false);
    });
  });

  it("M-5.51: what a write dirtied is told and logged without the lock", () => {
    guest.vm.setMemslot({ ...REGION, flags: LOG });
    const { facts } = guest;
    let free: number | undefined;
    facts.dirtied = () => {
      const { core } = other.context;
      free = core.lock_try_write(guest.vm.stage2.pointer);
      if (free === 0) core.unlock_write(guest.vm.stage2.pointer);
    };
    guest.write(IPA + 16384);
    expect(free).toBe(0);
    expect(guest.dirtyPages()).toEqual([4]);
  });

  it("M-8.10: a get that does not come to the lock leaves the log as it was", () => {
    guest.vm.setMemslot({ ...REGION, flags: LOG });
    guest.writeDenied(IPA);
    holding("read", () => {
      expect(errorOf(() => guest.vm.getDirtyLog(0)).code).toBe("ETIMEDOUT");
    });
    expect(guest.leaf(IPA)).toMatchObject({ prot: 6 });
    expect(guest.dirtyPages()).toEqual([0]);
  });

  it("M-8.33: a reset that does not come to the lock frees no entry", () => {
    const ringed = new Guest(here, { size: 0 });
    ringed.vcpu.dispose();
    ringed.vm.enableDirtyRing({ bytes: 4096, backupBitmap: true });
    ringed.vm.setMemslot({ ...REGION, flags: LOG });
    const vcpu = ringed.vm.createVcpu();
    vcpu.handleAbort({ esr: 0x9200_0047n, far: 0n, hpfar: BigInt(IPA / 256) });
    expect([...vcpu.dirtyRing!.harvest()]).toHaveLength(1);
    guest = ringed;
    holding("read", () => {
      expect(errorOf(() => ringed.vm.resetDirtyRings()).code).toBe("ETIMEDOUT");
    });
    expect(vcpu.dirtyRing).toMatchObject({ used: 1 });
    expect(ringed.vm.resetDirtyRings()).toBe(1);
  });
});
