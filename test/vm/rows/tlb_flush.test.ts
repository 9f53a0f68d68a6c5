/** The flush obligations (M-10) of protection, aging, ranges and the end of a VM: what is logged, and what a TLB may still answer when the call returns. */
import { describe, expect, it } from "vitest";
import { Access, Engine, Fault, Prot, type Vcpu } from "../../../src/index.ts";
import { MODES, SMALL, lab } from "../../support.ts";
import { Guest, HVA, IPA, LOG, PA } from "./support.ts";

const PAGE = 4096;
const TLBI = ["tlbiIpa", "tlbiIpaNsh", "tlbiRange", "tlbiVmid"] as const;

describe.each(MODES)("M-10: what must be invalid when a call returns (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, maxTablePages: 8192 });
  const guestOf = (options: object = {}) =>
    new Guest(here, { events: ["maintenance", "writes", "tables"], ...options });
  const tlbis = (guest: Guest) => guest.logged(...TLBI);
  const kinds = (guest: Guest) => tlbis(guest).map(({ kind }) => kind);
  /** The physical address that the PE uses, from its TLB if that has one; twice, so that it has one. */
  const use = (cpu: Vcpu, ipa: number, access: number = Access.Read) => {
    cpu.translate(ipa, access);
    return cpu.translate(ipa, access);
  };
  const denied = (cpu: Vcpu, ipa: number, access: number) => {
    const fault = cpu.translate(ipa, access);
    return fault instanceof Fault ? fault.type : fault;
  };

  it("M-10: wrprotect: none by itself; a get has flushed the slot when it returns", () => {
    const guest = guestOf({ flags: LOG });
    const { cpu } = guest.vcpu;
    guest.write(IPA);
    expect(use(cpu, IPA, Access.Write)).toBe(PA);
    guest.forget();
    guest.vm.wrprotectRange({ ipa: IPA, size: PAGE });
    expect(tlbis(guest)).toEqual([]);
    expect(cpu.translate(IPA, Access.Write)).toBe(PA); // stale: why the caller flushes
    guest.writeDenied(IPA);
    use(cpu, IPA, Access.Write);
    guest.forget();
    expect(guest.dirtyPages()).toEqual([0]);
    expect(kinds(guest)).toEqual(["tlbiVmid"]);
    expect(denied(cpu, IPA, Access.Write)).toBe("permission");
    const region = { slot: 0, ipa: IPA, size: 4 * guest.block, hva: HVA };
    guest.vm.setMemslot(region);
    guest.writeDenied(IPA);
    use(cpu, IPA, Access.Write);
    guest.vm.setMemslot({ ...region, flags: LOG });
    expect(denied(cpu, IPA, Access.Write)).toBe("permission");
    guest.writeDenied(IPA);
    use(cpu, IPA, Access.Write);
    guest.vm.clearDirtyLog(0, { firstPage: 0, pages: 64, bitmap: new BigUint64Array([1n]) });
    expect(denied(cpu, IPA, Access.Write)).toBe("permission");
  });

  it("M-10: test_clear_young: none; clear_flush_young: the VMID, so that the next use is seen", () => {
    const guest = guestOf();
    const { cpu } = guest.vcpu;
    guest.write(IPA);
    use(cpu, IPA);
    guest.forget();
    guest.vm.testYoung(HVA);
    guest.vm.clearYoung({ hva: HVA, size: PAGE });
    expect(tlbis(guest)).toEqual([]);
    cpu.translate(IPA, Access.Read);
    expect(guest.leaf(IPA)?.accessed).toBe(false);
    guest.fault({ ipa: IPA, fsc: 11 });
    guest.forget();
    guest.vm.clearFlushYoung({ hva: HVA, size: PAGE });
    expect(kinds(guest)).toEqual(["tlbiVmid"]);
    cpu.translate(IPA, Access.Read);
    expect(guest.leaf(IPA)?.accessed).toBe(true);
  });

  it.each([false, true])(
    "M-10: a range flush: pieces of 2^21 pages, or the VMID; range: %s",
    (tlbiRange) => {
      const guest = guestOf({ tlbiRange, size: 0, ipaBits: 44 });
      const piece = 2 ** 21 * PAGE;
      const size = 2 * piece + 3 * PAGE;
      guest.vm.flushTlb({ ipa: IPA, size });
      const events = tlbis(guest);
      if (!tlbiRange) expect(events.map(({ kind }) => kind)).toEqual(["tlbiVmid"]);
      else {
        expect(events).toMatchObject([
          { kind: "tlbiRange", ipa: IPA, pages: 2 ** 21 },
          { kind: "tlbiRange", ipa: IPA + piece, pages: 2 ** 21 },
          { kind: "tlbiRange", ipa: IPA + 2 * piece, pages: 3 },
        ]);
      }
    },
  );

  it.each(["tlbiIpa", "tlbiRange"])(
    "M-10: after %s nothing combined of the VMID is used either",
    (kind) => {
      const range = kind === "tlbiRange";
      const guest = guestOf({ fwb: range, tlbiRange: range });
      const { cpu } = guest.vcpu;
      guest.write(IPA);
      guest.write(IPA + PAGE);
      for (const ipa of [IPA, IPA + PAGE]) use(cpu, ipa);
      const before = cpu.statistics.tlb;
      guest.forget();
      guest.vm.invalidate({ hva: HVA, size: PAGE }, () => undefined);
      expect(kinds(guest)).toEqual([kind]);
      expect(denied(cpu, IPA, Access.Read)).toBe("translation");
      // The other page's combined entry went with the VMID: it is looked up anew, and still there.
      expect(cpu.translate(IPA + PAGE, Access.Read)).toBe(PA + PAGE);
      expect(cpu.statistics.tlb.misses).toBeGreaterThan(before.misses + 1);
    },
  );

  it("M-10: every other thread's TLB is clean when an unmap returns", async () => {
    if (mode === "single") return;
    const guest = guestOf();
    const other = await Engine.attach(here.engine.handle);
    const theirs = other.attachVm(guest.vm.handle, { memory: guest.facts });
    const far = theirs.createVcpu();
    guest.write(IPA);
    expect(use(far.cpu, IPA)).toBe(PA);
    guest.vm.invalidate({ hva: HVA, size: PAGE }, () => undefined);
    expect(denied(far.cpu, IPA, Access.Read)).toBe("translation");
    theirs.dispose();
    other.dispose();
  });

  it("M-10: permissions of a leaf that only grow need no broadcast; X and W both", () => {
    const guest = guestOf();
    guest.facts.everywhere = { writable: false };
    guest.read(IPA);
    guest.facts.everywhere = {};
    guest.forget();
    guest.writeDenied(IPA);
    guest.execDenied(IPA);
    expect(kinds(guest)).toEqual(["tlbiIpaNsh", "tlbiIpaNsh"]);
    expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.RWX });
  });
});

describe.each(MODES)("M-10: VMIDs that are used again (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, maxTablePages: 8192, vmidBits: 8 });

  it("M-10: the end of a VM: none; whoever has its number next sees nothing of it", () => {
    const cpu = here.keep(here.engine.vcpu(undefined, {}));
    const old = new Guest(here, { ipaBits: 32, vmidBits: 8, size: 0, events: ["maintenance"] });
    old.vm.setMemslot({ slot: 0, ipa: 0, size: 2 ** 20, hva: HVA });
    old.write(0);
    const vcpu = old.vm.createVcpu({ cpu });
    vcpu.load();
    cpu.translate(0, Access.Read);
    const number = vcpu.vmid;
    vcpu.put();
    old.forget();
    old.vm.dispose();
    expect([...here.engine.events.drain()].filter(({ kind }) => kind.startsWith("tlbi"))).toEqual(
      [],
    );
    for (let i = 0; ; i++) {
      const vm = here.engine.vm({ ipaBits: 32, vmidBits: 8 });
      const next = vm.createVcpu({ cpu });
      next.load();
      const found = next.vmid;
      const outcome = cpu.translate(0, Access.Read);
      next.put();
      vm.dispose();
      expect(outcome, `VMID ${found}`).toBeInstanceOf(Fault);
      if (found === number) break;
      expect(i).toBeLessThan(600);
    }
  });
});
