/** The flush obligations (M-10): what is logged, and what a TLB may still answer when the call returns. */
import { describe, expect, it } from "vitest";
import { Access, Engine, type Event, Fault, type Vcpu } from "../../../src/index.ts";
import { MODES, SMALL, lab } from "../../support.ts";
import { GRANULES, Guest, HVA, IPA, LOG, PA, expectResume } from "./support.ts";

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

  it("M-10: install into an invalid entry: none", () => {
    for (const everywhere of [{}, { hostSize: 2 ** 21 }, { device: true }]) {
      const guest = guestOf();
      guest.facts.everywhere = everywhere;
      guest.forget();
      guest.write(IPA);
      guest.exec(IPA + guest.block);
      guest.vm.ioremap({ ipa: 2 * IPA, pa: PA, size: PAGE, writable: true });
      expect(tlbis(guest)).toEqual([]);
      guest.vm.dispose();
    }
  });

  it("M-10: mkyoung and hardware access flags: none", () => {
    const guest = guestOf();
    guest.write(IPA);
    guest.vm.clearYoung({ hva: HVA, size: PAGE });
    guest.forget();
    expectResume(guest.fault({ ipa: IPA, fsc: 11 }));
    guest.vm.clearYoung({ hva: HVA, size: PAGE });
    expect(use(guest.vcpu.cpu, IPA)).toBe(PA);
    expect(guest.leaf(IPA)?.accessed).toBe(true);
    expect(tlbis(guest)).toEqual([]);
  });

  it("M-10: relax_perms: the old entry on the calling CPU; also where it was -EAGAIN", async () => {
    const guest = guestOf();
    const { cpu } = guest.vcpu;
    guest.facts.everywhere = { writable: false };
    guest.read(IPA);
    const other = mode === "threads" ? await Engine.attach(here.engine.handle) : undefined;
    const theirs = other?.attachVm(guest.vm.handle, { memory: guest.facts });
    const far = theirs?.createVcpu();
    for (const one of [cpu, far?.cpu]) if (one !== undefined) expect(use(one, IPA)).toBe(PA);
    guest.facts.everywhere = {};
    guest.forget();
    guest.writeDenied(IPA);
    expect(tlbis(guest)).toMatchObject([{ kind: "tlbiIpaNsh", ipa: IPA, level: 3 }]);
    expect(cpu.translate(IPA, Access.Write)).toBe(PA);
    if (far !== undefined) {
      const spurious = far.cpu.translate(IPA, Access.Write);
      expect(spurious).toMatchObject({ type: "permission", fromTlb: true });
      expectResume(far.handleAbort(spurious as Fault)); // relaxes what is relaxed
      expect(far.cpu.translate(IPA, Access.Write)).toBe(PA);
    }
    guest.vm.invalidate({ hva: HVA, size: PAGE }, () => undefined);
    guest.forget();
    guest.writeDenied(IPA);
    expect(guest.vcpu.lastCall).toMatchObject({ call: "relax", result: -11 });
    expect(tlbis(guest)).toMatchObject([{ kind: "tlbiIpaNsh", ipa: IPA, level: undefined }]);
    theirs?.dispose();
    other?.dispose();
  });

  it.each(GRANULES)(
    "M-10: block to page: break, TLBI at the block's level, make, %s",
    (granule) => {
      const guest = guestOf({ granule });
      const { block, page } = guest;
      const { cpu } = guest.vcpu;
      guest.facts.everywhere = { hostSize: block };
      guest.write(IPA);
      expect(use(cpu, IPA, Access.Write)).toBe(PA);
      guest.vm.setMemslot({ slot: 0, ipa: IPA, size: 4 * block, hva: HVA, flags: LOG });
      guest.facts.everywhere = { pa: PA + 2 * block };
      guest.forget();
      guest.writeDenied(IPA, 2);
      const steps = guest.logged("write", "tlbiIpa", "tlbiVmid");
      const broken = steps.findIndex((event) => event.kind === "write" && event.pte === 0x400n);
      const flushed = steps.findIndex(({ kind }) => kind === "tlbiIpa");
      const made = steps.findIndex((event, at) => at > flushed && event.kind === "write");
      expect(broken).toBeGreaterThanOrEqual(0);
      expect([flushed - broken, made - flushed]).toEqual([1, 1]);
      expect(steps[flushed]).toMatchObject({ level: 2 });
      expect(use(cpu, IPA, Access.Write)).toBe(PA + 2 * block);
      expect(denied(cpu, IPA + page, Access.Read)).toBe("translation");
    },
  );

  it.each([false, true])(
    "M-10: table to block: TLBI for all that the table covered; range: %s",
    (tlbiRange) => {
      const guest = guestOf({ flags: LOG, tlbiRange });
      const { block, vm } = guest;
      const { cpu } = guest.vcpu;
      for (let i = 0; i < 4; i++) {
        guest.write(IPA + i * PAGE);
        use(cpu, IPA + i * PAGE);
      }
      vm.setMemslot({ slot: 0, ipa: IPA, size: 4 * block, hva: HVA });
      vm.wrprotectRange({ ipa: IPA, size: block });
      const moved = PA + 8 * block;
      for (let i = 0; i < 4; i++)
        guest.facts.set(HVA + i * PAGE, { pa: moved + i * PAGE, hostSize: block });
      guest.forget();
      guest.writeDenied(IPA + PAGE);
      expect(guest.leaf(IPA)).toMatchObject({ size: block, pa: moved });
      const all: Event[] = guest.logged("write", "tlbiIpa", "tlbiVmid", "tlbiRange", "free");
      const flush = all.findIndex(({ kind }) => kind === (tlbiRange ? "tlbiRange" : "tlbiVmid"));
      if (tlbiRange) expect(all[flush]).toMatchObject({ ipa: IPA, pages: block / PAGE });
      expect(flush).toBeGreaterThanOrEqual(0);
      const free = all.findIndex(({ kind }) => kind === "free"); // M-10: table page free: after the TLBI
      expect(free).toBeGreaterThan(flush);
      for (let i = 0; i < 4; i++) expect(use(cpu, IPA + i * PAGE)).toBe(moved + i * PAGE);
    },
  );

  it("M-10: a new page, new attributes: break-before-make at the leaf's level", () => {
    for (const facts of [{ pa: PA + 0x8000 }, { device: true }]) {
      const guest = guestOf();
      const { cpu } = guest.vcpu;
      guest.write(IPA);
      use(cpu, IPA);
      guest.facts.everywhere = facts;
      guest.forget();
      guest.write(IPA); // a late fault, whose backing says something else
      expect(guest.vcpu.lastCall).toMatchObject({ call: "map", result: 0 });
      expect(tlbis(guest)).toMatchObject([{ kind: "tlbiIpa", ipa: IPA, level: 3 }]);
      expect(use(cpu, IPA)).toBe(facts.pa ?? PA);
      guest.vm.dispose();
    }
  });

  it("M-10: unmap of leaves: TLBI by IPA and level, and the TLB has nothing of them", () => {
    const guest = guestOf();
    const { block, vm } = guest;
    const { cpu } = guest.vcpu;
    guest.write(IPA);
    guest.write(IPA + PAGE);
    guest.facts.everywhere = { hostSize: block };
    guest.write(IPA + block);
    for (const ipa of [IPA, IPA + PAGE, IPA + block + PAGE]) use(cpu, ipa, Access.Write);
    guest.forget();
    vm.invalidate({ hva: HVA, size: PAGE }, () => undefined);
    expect(tlbis(guest)).toMatchObject([{ kind: "tlbiIpa", ipa: IPA, level: 3 }]);
    expect(denied(cpu, IPA, Access.Read)).toBe("translation");
    expect(use(cpu, IPA + PAGE)).toBe(PA + PAGE);
    vm.invalidate({ hva: HVA + block + 5 * PAGE, size: PAGE }, () => undefined);
    expect(tlbis(guest).at(0)).toMatchObject({ kind: "tlbiIpa", level: 2 });
    expect(denied(cpu, IPA + block + PAGE, Access.Read)).toBe("translation");
  });

  it("M-10: unmap with FWB and range TLBI: one flush of the range for the whole walk", () => {
    const guest = guestOf({ fwb: true, tlbiRange: true });
    const { cpu } = guest.vcpu;
    for (let i = 0; i < 16; i++) {
      guest.write(IPA + i * PAGE);
      use(cpu, IPA + i * PAGE);
    }
    guest.forget();
    guest.vm.invalidate({ hva: HVA + PAGE, size: 8 * PAGE }, () => undefined);
    expect(kinds(guest)).toEqual(["tlbiRange"]);
    for (let i = 0; i < 16; i++) {
      const gone = i >= 1 && i < 9;
      expect(denied(cpu, IPA + i * PAGE, Access.Read)).toBe(gone ? "translation" : PA + i * PAGE);
    }
  });

  it("M-10: unmap of a table: TLBI without a level, then its page is given back", () => {
    const guest = guestOf();
    const { cpu } = guest.vcpu;
    guest.write(IPA + 3 * PAGE);
    use(cpu, IPA + 3 * PAGE);
    guest.forget();
    guest.vm.unmapRange({ ipa: IPA, size: guest.block });
    const all: Event[] = guest.logged("tlbiIpa", "free");
    const table = all.findIndex((event) => event.kind === "tlbiIpa" && event.level === undefined);
    expect(all[table]).toMatchObject({ ipa: IPA });
    const free = all.findIndex(({ kind }) => kind === "free");
    expect(free).toBeGreaterThan(table);
    expect(denied(cpu, IPA + 3 * PAGE, Access.Read)).toBe("translation");
  });
});
