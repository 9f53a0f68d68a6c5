/** Rows M-5.40, M-5.60 to M-5.74: faults beside other faults, notifiers, aging and logging. */
import { describe, expect, it } from "vitest";
import { Access, Fault, Prot } from "../../../src/index.ts";
import { MODES, lab } from "../../support.ts";
import { Guest, HVA, IPA, LOG, PA, expectResume } from "./support.ts";

const EAGAIN = -11;

describe.each(MODES)("faults beside others (%s)", (mode) => {
  const here = lab(mode);
  const tlbis = (guest: Guest) => guest.logged("tlbiIpa", "tlbiVmid", "tlbiRange");
  /** Another vCPU's `fault` runs while the backing answers this one's. */
  const meanwhile = (guest: Guest, fault: () => void) => {
    guest.facts.meanwhile = () => {
      guest.facts.meanwhile = undefined;
      fault();
    };
  };

  it("M-5.40: an invalidation meanwhile, of whatever page of a slot: nothing is mapped", () => {
    const guest = new Guest(here, { flags: LOG });
    guest.vm.setMemslot({ slot: 1, ipa: 2 * IPA, size: 2 ** 20, hva: HVA + 2 ** 40 });
    for (const hva of [HVA, HVA + 512 * 4096, HVA + 2 ** 40]) {
      meanwhile(guest, () => guest.vm.invalidate({ hva, size: 4096 }, () => undefined));
      const { seq } = guest.vm.state;
      expectResume(guest.write(IPA));
      expect(guest.vm.state).toMatchObject({ seq: seq + 1, inProgress: 0 });
      expect(guest.vcpu.lastCall).toMatchObject({ call: "none", retried: true });
      expect(guest.leaves).toEqual([]);
      expect(guest.dirtyPages()).toEqual([]);
    }
    expect(guest.vcpu.statistics).toMatchObject({ retries: 3, again: 0 });
  });

  it("M-5.40: one that overlaps no slot does not matter", () => {
    const guest = new Guest(here);
    const beyond = { hva: HVA + 4 * guest.block, size: 4096 };
    meanwhile(guest, () => guest.vm.invalidate(beyond, () => undefined));
    expectResume(guest.write(IPA));
    expect(guest.vcpu.lastCall).toMatchObject({ call: "map", retried: false });
    expect(guest.leaves).toHaveLength(1);
  });

  it("M-5.40: while one is in progress every fault retries, from its start to its end", () => {
    const guest = new Guest(here);
    const range = { hva: HVA + 8192, size: 4096 };
    guest.vm.invalidateStart(range);
    for (let i = 0; i < 3; i++) {
      expectResume(guest.write(IPA));
      expect(guest.vcpu.lastCall).toMatchObject({ call: "none", retried: true });
    }
    guest.vm.invalidateStart({ hva: HVA, size: 4096 });
    guest.vm.invalidateEnd(range);
    expectResume(guest.write(IPA));
    expect(guest.leaves).toEqual([]);
    guest.vm.invalidateEnd({ hva: HVA, size: 4096 });
    expectResume(guest.write(IPA));
    expect(guest.leaves).toHaveLength(1);
  });

  it("M-5.66: two vCPUs, one page: one installs, the other is told -EAGAIN and does nothing", () => {
    const guest = new Guest(here, { flags: LOG, events: ["maintenance", "writes"] });
    const other = guest.vm.createVcpu();
    for (const late of ["write", "read"] as const) {
      meanwhile(guest, () => {
        other.handleAbort({ esr: 0x9200_0047n, far: 0n, hpfar: BigInt(IPA / 256) });
        guest.dirtyPages();
        guest.vcpu.topup(1);
        guest.forget();
      });
      expectResume(late === "write" ? guest.write(IPA) : guest.read(IPA));
      expect(guest.vcpu.lastCall).toMatchObject({ call: "map", result: EAGAIN });
      expect(guest.logged("tlbiIpa", "tlbiVmid", "write")).toEqual([]);
      expect(guest.dirtyPages()).toEqual([]);
      guest.vm.unmapRange({ ipa: IPA, size: 4096 });
    }
    other.dispose();
  });

  it.each([true, false])("M-5.67: a late read does not downgrade; strict: %s", (strictFaults) => {
    const guest = new Guest(here, { strictFaults });
    const other = guest.vm.createVcpu();
    meanwhile(guest, () => {
      other.handleAbort({ esr: 0x9200_0047n, far: 0n, hpfar: BigInt(IPA / 256) });
      guest.facts.everywhere = { writable: false };
    });
    expectResume(guest.read(IPA));
    expect(guest.vcpu.lastCall).toMatchObject({ prot: Prot.R, result: EAGAIN });
    expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.RW });
    other.dispose();
  });

  it("M-5.68: a late write where R was installed: -EAGAIN, then relax", () => {
    const guest = new Guest(here, { flags: LOG });
    const other = guest.vm.createVcpu();
    meanwhile(guest, () => {
      other.handleAbort({ esr: 0x9200_0007n, far: 0n, hpfar: BigInt(IPA / 256) });
    });
    expectResume(guest.write(IPA));
    expect(guest.vcpu.lastCall).toMatchObject({ prot: Prot.RW, result: EAGAIN });
    expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.R });
    expect(guest.dirtyPages()).toEqual([]);
    expectResume(guest.writeDenied(IPA));
    expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.RW });
    expect(guest.dirtyPages()).toEqual([0]);
    other.dispose();
  });

  it("M-5.69: an entry that another is changing: -EAGAIN, and it stays as it is", () => {
    const guest = new Guest(here, { flags: LOG });
    const { engine } = here;
    guest.write(IPA);
    const at = (engine.context.core.s2_entry(guest.vm.stage2.pointer, IPA) >>> 0) / 8;
    const leaf = engine.context.u64[at] as bigint;
    guest.dirtyPages();
    engine.context.u64[at] = 0x400n;
    expectResume(guest.write(IPA));
    expect(guest.vcpu.lastCall).toMatchObject({ call: "map", result: EAGAIN });
    expectResume(guest.writeDenied(IPA));
    expect(guest.vcpu.lastCall).toMatchObject({ call: "relax", result: EAGAIN });
    expect(engine.context.u64[at]).toBe(0x400n);
    expect(guest.dirtyPages()).toEqual([]);
    engine.context.u64[at] = leaf;
  });

  it("M-5.70: before a notifier: mapped and unmapped again; inside: not at all; never stale", () => {
    const guest = new Guest(here);
    const { cpu } = guest.vcpu;
    const page = { hva: HVA, size: 4096 };
    const use = () => cpu.translate(IPA, Access.Write);
    guest.write(IPA);
    expect(use()).toBe(PA);
    guest.vm.invalidateStart(page);
    expect(use()).toBeInstanceOf(Fault); // the old page is gone when start returns
    guest.write(IPA);
    expect(use()).toBeInstanceOf(Fault);
    guest.facts.set(HVA, { pa: PA + 0x5000 });
    guest.vm.invalidateEnd(page);
    guest.write(IPA);
    expect(use()).toBe(PA + 0x5000);
    // One that asked before the start, and finishes after the end.
    meanwhile(guest, () =>
      guest.vm.invalidate(page, () => guest.facts.set(HVA, { pa: PA + 0x7000 })),
    );
    guest.vm.invalidate(page, () => undefined);
    guest.write(IPA);
    expect(use()).toBeInstanceOf(Fault);
    guest.write(IPA);
    expect(use()).toBe(PA + 0x7000);
  });

  it.each([true, false])(
    "M-5.72: the AF trap: a late read of an aged RW page; strict: %s",
    (strictFaults) => {
      const guest = new Guest(here, { strictFaults, events: ["maintenance"] });
      const other = guest.vm.createVcpu();
      meanwhile(guest, () => {
        other.handleAbort({ esr: 0x9200_0047n, far: 0n, hpfar: BigInt(IPA / 256) });
        guest.vm.clearYoung({ hva: HVA, size: 4096 });
        guest.facts.everywhere = { writable: false };
        guest.forget();
      });
      expectResume(guest.read(IPA));
      expect(guest.vcpu.lastCall).toMatchObject({ result: strictFaults ? EAGAIN : 0 });
      expect(guest.leaf(IPA)).toMatchObject({ prot: strictFaults ? Prot.RW : Prot.R });
      expect(tlbis(guest)).toHaveLength(strictFaults ? 0 : 1);
      other.dispose();
    },
  );

  it.each([true, false])(
    "M-5.73: a late map of the same over an aged page; strict: %s",
    (strictFaults) => {
      const guest = new Guest(here, { strictFaults, events: ["maintenance"] });
      guest.write(IPA);
      guest.vm.clearYoung({ hva: HVA, size: 4096 });
      guest.forget();
      expectResume(guest.write(IPA));
      expect(guest.vcpu.lastCall).toMatchObject({ call: "map", result: strictFaults ? EAGAIN : 0 });
      expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.RW, accessed: true });
      expect(tlbis(guest)).toHaveLength(strictFaults ? 0 : 1);
    },
  );

  it("M-5.74: a write that breaks copy-on-write itself: no call, no log; the next one maps", () => {
    const guest = new Guest(here, { flags: LOG });
    const { facts, vm, vcpu } = guest;
    const zero = PA + 0x4000_0000;
    facts.set(HVA, { pa: zero, writable: false });
    guest.read(IPA);
    expect(guest.leaf(IPA)).toMatchObject({ pa: zero, prot: Prot.R });
    meanwhile(guest, () =>
      vm.invalidate({ hva: HVA, size: 4096 }, () => facts.set(HVA, { pa: PA + 0x9000 })),
    );
    expectResume(guest.writeDenied(IPA));
    expect(vcpu.lastCall).toMatchObject({ call: "none", retried: true });
    expect(guest.leaves).toEqual([]);
    expect(guest.dirtyPages()).toEqual([]);
    expectResume(guest.write(IPA));
    expect(guest.leaf(IPA)).toMatchObject({ pa: PA + 0x9000, prot: Prot.RW });
    expect(guest.dirtyPages()).toEqual([0]);
    // The same of a translation fault, with two notifiers.
    meanwhile(guest, () => {
      vm.invalidate({ hva: HVA + 4096, size: 4096 }, () => undefined);
      vm.invalidate({ hva: HVA + 4096, size: 4096 }, () => undefined);
    });
    expectResume(guest.write(IPA + 4096));
    expect(guest.leaf(IPA + 4096)).toBeUndefined();
  });
});
