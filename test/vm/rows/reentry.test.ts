/** Callbacks that end what they are called for, or use the VM where it is in the middle of something. */
import { describe, expect, it } from "vitest";
import type { Backing, Bus, HostPage, Stage2Error } from "../../../src/index.ts";
import { MODES, errorOf, lab, rejectionOf } from "../../support.ts";
import { Guest, HVA, IPA, LOG, PA, abort, expectResume } from "./support.ts";

const WRITE = abort({ ipa: IPA, write: true });
const REGION = { slot: 1, ipa: 2 * IPA, size: 2 ** 20, hva: HVA };
const SLOT = { slot: 0, ipa: IPA, size: 2 ** 23, hva: HVA };

describe.each(MODES)("ended by a callback (%s)", (mode) => {
  const here = lab(mode);

  it("resolve disposes the vCPU: the abort ends with DISPOSED, the VM lives on", () => {
    const guest = new Guest(here, { flags: LOG });
    guest.facts.meanwhile = () => guest.vcpu.dispose();
    expect(errorOf(() => guest.vcpu.handleAbort(WRITE)).code).toBe("DISPOSED");
    guest.facts.meanwhile = undefined;
    expect(guest.leaves).toEqual([]);
    const next = guest.vm.createVcpu();
    expectResume(next.handleAbort(WRITE));
    expect(guest.dirtyPages()).toEqual([0]);
  });

  it("resolve disposes the VM: DISPOSED, and all memory is back", () => {
    const guest = new Guest(here, { flags: LOG });
    guest.facts.meanwhile = () => guest.vm.dispose();
    expect(errorOf(() => guest.vcpu.handleAbort(WRITE)).code).toBe("DISPOSED");
    expect(here.engine.memoryUsage().used).toBe(0);
    const other = new Guest(here);
    expectResume(other.write(IPA));
  });

  const ends = (["vcpu", "vm"] as const).flatMap((what) =>
    [false, true].map((asked) => [what, asked] as const),
  );
  it.each(ends)(
    "the %s ends while an asynchronous abort waits; the backing was asked: %s",
    async (what, asked) => {
      const guest = new Guest(here);
      const backing: Backing = guest.facts;
      let asks = 0;
      backing.resolve = () => {
        asks++;
        return new Promise<never>(() => undefined);
      };
      const pending = rejectionOf(guest.vcpu.handleAbortAsync(WRITE));
      if (asked) await Promise.resolve().then(() => expect(asks).toBe(1));
      if (what === "vcpu") guest.vcpu.dispose();
      else guest.vm.dispose();
      expect((await pending).code).toBe("DISPOSED");
      guest.vm.dispose();
      expect(here.engine.memoryUsage().used).toBe(0);
    },
    5_000,
  );

  it("an answer that comes after the VM ended maps nothing, anywhere", async () => {
    const guest = new Guest(here);
    let answer = (_: HostPage): void => undefined;
    const backing: Backing = guest.facts;
    backing.resolve = () => new Promise<HostPage>((resolve) => (answer = resolve));
    const pending = rejectionOf(guest.vcpu.handleAbortAsync(WRITE));
    guest.vm.dispose();
    const next = new Guest(here); // may have the place of the one before
    answer({ pa: PA, writable: true });
    expect((await pending).code).toBe("DISPOSED");
    expect(next.leaves).toEqual([]);
  });

  it("a bus that disposes the vCPU, or makes it abort again", () => {
    let guest: Guest | undefined;
    let inside: (() => unknown) | undefined;
    const bus: Bus = {
      read: () => {
        inside?.();
        return 7n;
      },
      write: () => true,
    };
    guest = new Guest(here, { bus });
    const { vcpu } = guest;
    const access = { size: 8, register: 3 } as const;
    const load = () => guest.fault({ ipa: 0x900_0000, access });
    inside = () => {
      inside = undefined;
      expectResume(vcpu.handleAbort(WRITE));
      expectResume(guest.fault({ ipa: 0x900_0000, access: { size: 1, register: 4 } }));
    };
    expectResume(load());
    expect([vcpu.x[3], vcpu.x[4], vcpu.pc]).toEqual([7n, 7n, 8n]);
    inside = () => vcpu.dispose();
    try {
      load();
    } catch (error) {
      expect(error).toMatchObject({ code: "DISPOSED" });
    }
    expectResume(guest.vm.createVcpu().handleAbort(WRITE));
  });
});

describe.each(MODES)("used in the middle of something (%s)", (mode) => {
  const here = lab(mode);

  it("M-3.21: inspect, at a MOVE: the slot is INVALID, its range empty; its lock is held", () => {
    const guest = new Guest(here);
    guest.write(IPA);
    const backing: Backing = guest.facts;
    const seen: unknown[] = [];
    backing.inspect = () => {
      seen.push(guest.leaves.length);
      seen.push(guest.fault({ ipa: IPA, access: { size: 4 } }).reason);
      seen.push(guest.vm.memslot(0)?.invalid);
      seen.push(errorOf(() => guest.vm.setMemslot(REGION)).code);
      return {};
    };
    expect(guest.vm.setMemslot({ ...SLOT, ipa: 4 * IPA })).toBe("move");
    expect(seen).toEqual([0, "mmio", true, "EDEADLK"]);
    expect(guest.vm.memslots()).toMatchObject([{ ipa: 4 * IPA, invalid: false }]);
  });

  it("inside of an invalidation: faults retry, slots and logs do not deadlock", () => {
    const guest = new Guest(here, { flags: LOG });
    const { vm, vcpu } = guest;
    guest.write(IPA + 4096);
    vm.invalidate({ hva: HVA, size: 4096 }, () => {
      expectResume(vcpu.handleAbort(WRITE));
      expect(vcpu.lastCall).toMatchObject({ call: "none", retried: true });
      expect(errorOf(() => vm.setMemslot(REGION)).code).toBe("EDEADLK");
      expect(errorOf(() => vm.setMemslot({ ...SLOT, size: 0 })).code).toBe("EDEADLK");
      expect(guest.dirtyPages()).toEqual([1]);
      vm.invalidate({ hva: HVA + 4096, size: 4096 }, () => undefined);
      expect(vm.clearYoung({ hva: HVA, size: 2 ** 20 })).toBe(false);
    });
    expect(vm.memslots()).toHaveLength(1);
    expect(vm.state).toMatchObject({ active: 0, inProgress: 0, seq: 2 });
    expect(vm.setMemslot(REGION)).toBe("create");
    expectResume(vcpu.handleAbort(WRITE));
    expect(guest.leaf(IPA)).toBeDefined();
  });

  it("an invalidation that ends the VM", () => {
    const guest = new Guest(here);
    guest.write(IPA);
    expect(() =>
      guest.vm.invalidate({ hva: HVA, size: 4096 }, () => guest.vm.release()),
    ).not.toThrow();
    guest.vm.dispose();
    const other = new Guest(here);
    try {
      other.vm.invalidate({ hva: HVA, size: 4096 }, () => other.vm.dispose());
    } catch (error) {
      expect(error).toMatchObject({ name: "Stage2Error" });
    }
    other.vm.dispose();
    expect(here.engine.memoryUsage().used).toBe(0);
    const next = new Guest(here);
    expect(next.vm.setMemslot(REGION)).toBe("create"); // nothing is in flight in this thread
  });

  it("mapped() that throws, or changes slots, leaves the VM whole", () => {
    const guest = new Guest(here);
    guest.write(IPA);
    guest.facts.parts = () => {
      throw new RangeError("of the embedder");
    };
    expect(() => guest.vm.unmapAll()).toThrow("of the embedder");
    guest.facts.parts = (hva, size) => {
      expectResume(guest.write(IPA + 4096));
      return [{ hva, size }];
    };
    guest.vm.unmapAll();
    expect(guest.leaves).toEqual([]);
    guest.facts.parts = undefined;
    expect(guest.vm.setMemslot(REGION)).toBe("create");
  });

  it("accessed() that throws: the access flag is set, the next abort is handled", () => {
    const guest = new Guest(here);
    const { facts } = guest;
    guest.write(IPA);
    guest.vm.clearYoung({ hva: HVA, size: 4096 });
    facts.accessed = () => {
      throw new RangeError("of the embedder");
    };
    expect(() => guest.fault({ ipa: IPA, fsc: 11 })).toThrow("of the embedder");
    expect(guest.leaf(IPA)?.accessed).toBe(true);
    expectResume(guest.write(IPA + 4096));
  });

  it("dirtied() and accessed() may abort, invalidate and collect", () => {
    const guest = new Guest(here, { flags: LOG });
    const { facts, vm, vcpu } = guest;
    let told = 0;
    facts.dirtied = () => {
      if (told++ > 0) return;
      expectResume(vcpu.handleAbort(abort({ ipa: IPA + 4096, write: true })));
      expect(guest.dirtyPages()).toEqual([0, 1]);
      vm.invalidate({ hva: HVA, size: 4096 }, () => undefined);
    };
    expectResume(vcpu.handleAbort(WRITE));
    expect(told).toBe(2);
    expect(guest.leaves.map(({ ipa }) => ipa)).toEqual([IPA + 4096]);
  });

  it("between slices: a fault, an invalidation; what needs the slots' lock waits or is refused", async () => {
    const guest = new Guest(here, { size: 0, ipaBits: 44 });
    const { vm, vcpu, largest } = guest;
    const region = { slot: 0, ipa: IPA, size: 64 * largest, hva: HVA };
    vm.setMemslot(region);
    for (let i = 0; i < 64; i++) guest.write(IPA + i * largest);
    const change = vm.setMemslotAsync({ ...region, flags: LOG });
    const other = vm.setMemslotAsync({ ...REGION, ipa: IPA + 65 * largest });
    let own: string;
    try {
      own = vm.setMemslot({ ...REGION, slot: 7, ipa: IPA + 80 * largest });
    } catch (error) {
      own = (error as Stage2Error).code;
    }
    expect(["create", "EDEADLK"]).toContain(own); // as the slices come
    expectResume(vcpu.handleAbort(abort({ ipa: IPA + 4096 })));
    expect(await Promise.all([change, other])).toEqual(["flags", "create"]);
    const writable = guest.leaves.filter(({ prot }) => (prot & 2) !== 0);
    expect(writable).toEqual([]);
    expect(vm.getDirtyLog(0).count).toBe(0);
    expect(vm.memslot(7) !== undefined).toBe(own === "create");
  });

  it("a harvest loop that resets, collects or aborts goes on with what is there", () => {
    const guest = new Guest(here, { size: 0 });
    const { vm } = guest;
    guest.vcpu.dispose();
    vm.enableDirtyRing({ bytes: 4096, backupBitmap: true });
    vm.setMemslot({ ...SLOT, flags: LOG });
    const vcpu = vm.createVcpu();
    const write = (page: number) =>
      expectResume(vcpu.handleAbort(abort({ ipa: IPA + page * 4096, write: true })));
    for (let page = 0; page < 5; page++) write(page);
    const seen: number[] = [];
    for (const { offset } of vcpu.dirtyRing!.harvest()) {
      seen.push(offset);
      if (offset === 1) expect(vm.resetDirtyRings()).toBe(2);
      if (offset === 2) write(9);
      if (offset === 3) vm.getDirtyLog(0);
    }
    expect(seen).toEqual([0, 1, 2, 3, 4, 9]);
    expect(vm.resetDirtyRings()).toBe(4);
    expect(vcpu.dirtyRing!.used).toBe(0);
  });

  it("a log's view is good until the next get of its slot; a copy for ever", () => {
    const guest = new Guest(here, { flags: LOG });
    guest.write(IPA + 3 * 4096);
    const copy = guest.vm.getDirtyLog(0);
    guest.write(IPA + 4 * 4096);
    const view = guest.vm.getDirtyLog(0, { view: true });
    expect([[...copy], [...view]]).toEqual([[3], [4]]);
    guest.vm.clearDirtyLog(0, { firstPage: 0, pages: 64, bitmap: new BigUint64Array(1) });
    guest.writeDenied(IPA + 3 * 4096);
    guest.vm.getDirtyLog(0);
    expect([...copy]).toEqual([3]);
  });
});
