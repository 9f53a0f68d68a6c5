/** Callbacks of the embedder that throw, reject, answer nonsense or re-enter: locks are free afterwards, tables as they were. */
import { describe, expect, it } from "vitest";
import type { Backing, BackingAnswer, Vm, VmVcpu } from "../../../src/index.ts";
import { MODES, errorOf, lab, rejectionOf } from "../../support.ts";
import { Guest, HVA, IPA, LOG, PA, abort, expectResume } from "./support.ts";

const WRITE = abort({ ipa: IPA, write: true });
const REGION = { slot: 1, ipa: 2 * IPA, size: 2 ** 20, hva: HVA };

describe.each(MODES)("callbacks that do not behave (%s)", (mode) => {
  const here = lab(mode);

  /** Every lock can be taken, every kind of call works, nothing is in flight. */
  function expectHealthy(guest: Guest): void {
    const { vm, vcpu, facts } = guest;
    facts.meanwhile = undefined;
    facts.everywhere = {};
    expect(vm.state).toMatchObject({ inProgress: 0, active: 0 });
    expect(here.engine.threads()[0]).not.toHaveProperty("lock.side");
    expect(vm.setMemslot(REGION)).toBe("create");
    expect(vm.setMemslot({ ...REGION, size: 0 })).toBe("delete");
    vm.unmapRange({ ipa: IPA, size: 4096 });
    expectResume(vcpu.handleAbort(WRITE));
    expect(guest.leaf(IPA)).toMatchObject({ pa: PA });
    expect(guest.dirtyPages()).toEqual([0]);
  }
  const guestOf = () => new Guest(here, { flags: LOG });

  it("resolve throws: the error passes, nothing is mapped", () => {
    const guest = guestOf();
    const used = here.engine.memoryUsage().used;
    guest.facts.meanwhile = () => {
      throw new RangeError("of the embedder");
    };
    for (let i = 0; i < 3; i++) expect(() => guest.write(IPA)).toThrow("of the embedder");
    expect(guest.leaves).toEqual([]);
    expect(guest.dirtyPages()).toEqual([]);
    guest.vcpu.freeCache();
    expect(here.engine.memoryUsage().used).toBe(used);
    expectHealthy(guest);
  });

  const nonsense: [string, unknown][] = [
    ["nothing", undefined],
    ["null", null],
    ["a number", 5],
    ["an unknown word", "perhaps"],
    ["no fields", {}],
    ["a page without address", { writable: true }],
    ["a negative address", { pa: -4096, writable: true }],
    ["an address inside a page", { pa: PA + 8, writable: true }],
    ["an address beyond all memory", { pa: 2 ** 60, writable: true }],
    ["an address that is no number", { pa: "0x1000", writable: true }],
    ["a size that is no power of two", { pa: PA, writable: true, hostSize: 3 * 2 ** 20 }],
    ["a VMA of 100 bytes", { pa: PA, writable: true, vmaPageSize: 100 }],
  ];
  it.each(nonsense)("resolve answers %s: refused, nothing is mapped", (_what, answer) => {
    const guest = guestOf();
    const { facts } = guest;
    const { resolve } = facts;
    facts.resolve = () => answer as BackingAnswer;
    expect(errorOf(() => guest.write(IPA)).code).toBe("BAD_OPTION");
    expect(guest.leaves).toEqual([]);
    facts.resolve = resolve;
    expectHealthy(guest);
  });

  it("resolve answers later: only the asynchronous form takes that", async () => {
    const guest = guestOf();
    const { facts, vcpu } = guest;
    const page = { pa: PA, writable: true };
    const later = Object.assign(facts, { resolve: () => Promise.resolve(page) as never });
    errorOf(() => vcpu.handleAbort(WRITE));
    expect(guest.leaves).toEqual([]);
    expectResume(await vcpu.handleAbortAsync(WRITE));
    expect(guest.leaf(IPA)).toMatchObject({ pa: PA });
    guest.dirtyPages();
    later.resolve = () => page as never;
    expectHealthy(guest);
  });

  it("resolve rejects: so does the call; meanwhile the vCPU is busy, others are not", async () => {
    const guest = guestOf();
    const { facts, vcpu, vm } = guest;
    const resolve = facts.resolve.bind(facts);
    let fail = (_: Error): void => undefined;
    facts.resolve = () => new Promise<never>((_, reject) => (fail = reject)) as never;
    const pending = vcpu.handleAbortAsync(WRITE);
    expect(errorOf(() => vcpu.handleAbort(WRITE)).code).toBe("EBUSY");
    expect((await rejectionOf(vcpu.handleAbortAsync(WRITE))).code).toBe("EBUSY");
    expect(vm.setMemslot(REGION)).toBe("create");
    expect(vm.setMemslot({ ...REGION, size: 0 })).toBe("delete");
    fail(new RangeError("of the embedder"));
    await expect(pending).rejects.toThrow("of the embedder");
    expect(guest.leaves).toEqual([]);
    facts.resolve = resolve;
    expectHealthy(guest);
  });

  it("the asynchronous form can be aborted; nothing is mapped", async () => {
    const guest = guestOf();
    const { facts, vcpu } = guest;
    const resolve = facts.resolve.bind(facts);
    facts.resolve = () => new Promise<never>(() => undefined) as never;
    const controller = new AbortController();
    const pending = vcpu.handleAbortAsync(WRITE, { signal: controller.signal });
    controller.abort(new RangeError("enough"));
    await expect(pending).rejects.toThrow("enough");
    expect(guest.leaves).toEqual([]);
    facts.resolve = resolve;
    expectHealthy(guest);
  });

  /** What a backing may do inside resolve, and whether the fault it is asked for then maps. */
  const reentries: [string, (vm: Vm, vcpu: VmVcpu, other: VmVcpu) => void, boolean][] = [
    ["handles an abort of the same vCPU", (_vm, vcpu) => expect(errorOf(() => vcpu.handleAbort(WRITE)).code).toBe("EBUSY"), true], // prettier-ignore
    ["handles an abort of another vCPU", (_vm, _vcpu, other) => expectResume(other.handleAbort(abort({ ipa: IPA + 4096 }))), true], // prettier-ignore
    ["invalidates the page", (vm) => vm.invalidate({ hva: HVA, size: 4096 }, () => undefined), false], // prettier-ignore
    ["invalidates what is no slot's", (vm) => vm.invalidate({ hva: 0, size: 4096 }, () => undefined), true], // prettier-ignore
    ["creates a slot", (vm) => void vm.setMemslot(REGION), true],
    ["deletes the slot", (vm) => void vm.setMemslot({ slot: 0, ipa: IPA, size: 0, hva: HVA }), false], // prettier-ignore
    ["moves the slot", (vm) => void vm.setMemslot({ slot: 0, ipa: 3 * IPA, size: 2 ** 23, hva: HVA, flags: LOG }), false], // prettier-ignore
    ["turns the log off", (vm) => void vm.setMemslot({ slot: 0, ipa: IPA, size: 2 ** 23, hva: HVA }), false], // prettier-ignore
    ["collects the log", (vm) => void vm.getDirtyLog(0), true],
    ["ages", (vm) => void vm.clearFlushYoung({ hva: HVA, size: 2 ** 20 }), true],
    ["unmaps", (vm) => vm.unmapRange({ ipa: IPA, size: 2 ** 20 }), true],
  ];
  it.each(reentries)("resolve %s", (_what, reenter, maps) => {
    const guest = guestOf();
    const { vm, vcpu, facts } = guest;
    const other = vm.createVcpu();
    let inside = 0;
    facts.meanwhile = () => {
      if (inside++ === 0) reenter(vm, vcpu, other);
    };
    expectResume(vcpu.handleAbort(WRITE));
    expect(vm.stage2.lookup(IPA)).toBe(maps ? PA : undefined);
    for (const { slot } of vm.memslots()) vm.setMemslot({ slot, ipa: 0, size: 0, hva: 0 });
    vm.setMemslot({ slot: 0, ipa: IPA, size: 2 ** 23, hva: HVA, flags: LOG });
    other.dispose();
    expectHealthy(guest);
  });

  it("resolve ends the VM's page table: the fault maps nothing", () => {
    const guest = guestOf();
    guest.facts.meanwhile = () => guest.vm.release();
    try {
      guest.write(IPA);
    } catch (error) {
      expect(error).toMatchObject({ name: "Stage2Error" });
    }
    guest.vm.dispose();
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it("inspect throws: the region is refused; of a MOVE the mappings are gone, no more", () => {
    const guest = guestOf();
    guest.write(IPA);
    guest.dirtyPages();
    const backing: Backing = guest.facts;
    const inspect = backing.inspect?.bind(backing);
    backing.inspect = () => {
      throw new RangeError("of the embedder");
    };
    const before = guest.vm.memslots();
    expect(() => guest.vm.setMemslot(REGION)).toThrow("of the embedder");
    const move = { slot: 0, ipa: 3 * IPA, size: 2 ** 23, hva: HVA, flags: LOG };
    expect(() => guest.vm.setMemslot(move)).toThrow("of the embedder");
    expect(guest.vm.memslots()).toEqual(before);
    expect(guest.leaves).toEqual([]);
    if (inspect !== undefined) backing.inspect = inspect;
    expectHealthy(guest);
  });

  it("inspect uses the VM: what needs the slots' lock is refused, aborts are not", () => {
    const guest = guestOf();
    const seen: string[] = [];
    const backing: Backing = guest.facts;
    const inspect = backing.inspect?.bind(backing);
    backing.inspect = () => {
      seen.push(errorOf(() => guest.vm.setMemslot({ ...REGION, slot: 2 })).code);
      seen.push(errorOf(() => guest.vm.getDirtyLog(0)).code);
      seen.push(guest.write(IPA).reason);
      return {};
    };
    expect(guest.vm.setMemslot(REGION)).toBe("create");
    expect(seen).toEqual(["EDEADLK", "EDEADLK", "resume"]);
    guest.vm.setMemslot({ ...REGION, size: 0 });
    if (inspect !== undefined) backing.inspect = inspect;
    guest.dirtyPages();
    expectHealthy(guest);
  });

  it("a bus throws, or answers nonsense: the error passes, nothing is completed", () => {
    const answers: unknown[] = [1, "x", null, {}];
    for (const answer of [undefined, ...answers]) {
      const guest = new Guest(here, {
        flags: LOG,
        bus: {
          read: () => {
            if (answer === undefined) throw new RangeError("of the embedder");
            return answer as bigint;
          },
          write: () => answer as boolean,
        },
      });
      const { vcpu } = guest;
      vcpu.pc = 0x1000n;
      const read = () => guest.fault({ ipa: 0x900_0000, access: { size: 4, register: 2 } });
      expect(read).toThrow();
      expect([vcpu.pc, vcpu.x[2]]).toEqual([0x1000n, 0n]);
      expectHealthy(guest);
      guest.vm.dispose();
    }
  });

  it("the change of an invalidation throws or rejects: it ends all the same", async () => {
    const guest = guestOf();
    const { vm } = guest;
    const range = { hva: HVA, size: 4096 };
    guest.write(IPA);
    guest.dirtyPages();
    expect(() =>
      vm.invalidate(range, () => {
        throw new RangeError("of the embedder");
      }),
    ).toThrow("of the embedder");
    expect(guest.leaves).toEqual([]);
    await expect(
      vm.invalidateAsync(range, () => Promise.reject(new RangeError("of the embedder"))),
    ).rejects.toThrow("of the embedder");
    expectHealthy(guest);
  });

  it("onProgress throws: the operation ends there, and the lock is free", async () => {
    const guest = guestOf();
    const range = { ipa: IPA, size: 2 ** 23 };
    const onProgress = (): void => {
      throw new RangeError("of the embedder");
    };
    await guest.vm.wrprotectRangeAsync(range, { onProgress }).catch((error: unknown) => {
      expect(error).toBeInstanceOf(RangeError);
    });
    expectHealthy(guest);
  });

  it("dirtied and accessed throw: what they were told of is done", () => {
    const guest = guestOf();
    const { facts } = guest;
    const dirtied = facts.dirtied.bind(facts);
    facts.dirtied = () => {
      throw new RangeError("of the embedder");
    };
    expect(() => guest.write(IPA)).toThrow("of the embedder");
    expect(guest.leaf(IPA)).toMatchObject({ pa: PA });
    expect(guest.dirtyPages()).toEqual([0]); // never mapped writable and not logged
    facts.dirtied = dirtied;
    expectHealthy(guest);
  });
});
