import { describe, expect, it, vi } from "vitest";
import { type BackingAnswer, Fault, Stage2Error, type Vm } from "../../../src/index.ts";
import { MODES, errorOf, lab, rejectionOf } from "../../support.ts";
import { HVA, IPA, PAGE, RAM, WITH_RAM, dataAbort, deferred, page, scene } from "./support.ts";

describe.each(MODES)("handling aborts (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("repeats an access until it goes through", () => {
    const { vcpu, memory } = scene(here);
    expect(vcpu.run(() => vcpu.cpu.write32(IPA + 8, 42))).toBeUndefined();
    expect(vcpu.run(() => vcpu.cpu.read32(IPA + 8))).toBe(42);
    expect(memory.asked).toEqual([
      {
        hva: HVA,
        write: true,
        exec: false,
        permission: false,
        ipa: IPA,
        gfn: IPA / PAGE,
        slot: 0,
        readonly: false,
        vcpu: 0,
      },
    ]);
    expect(here.engine.memoryMap.bytes(RAM + 8, 4)).toEqual(new Uint8Array([42, 0, 0, 0]));
  });

  it("gives one object for every resume, and one request for every question of a vCPU", () => {
    const { vcpu, memory } = scene(here);
    const seen = new Set<unknown>();
    memory.answer = (request) => {
      seen.add(request);
      return page(request);
    };
    const first = vcpu.handleAbort(dataAbort(IPA));
    const second = vcpu.handleAbort(dataAbort(IPA + PAGE));
    expect(first).toBe(second);
    expect(Object.isFrozen(first)).toBe(true);
    expect(first).toEqual({ reason: "resume", ret: 1 });
    expect(seen.size).toBe(1);
  });

  it("tells what the page-table library was asked", () => {
    const { vcpu } = scene(here);
    const prot = 6;
    vcpu.handleAbort(dataAbort(IPA));
    expect(vcpu.lastCall).toEqual({
      call: "map",
      ipa: IPA,
      size: PAGE,
      prot,
      result: 0,
      usedHostSize: expect.any(Boolean) as boolean,
      retried: false,
    });
    vcpu.handleAbort(dataAbort(IPA));
    expect(vcpu.lastCall).toMatchObject({ call: "map", result: -11 });
    vcpu.handleAbort(dataAbort(0x1000, { size: 4 }));
    expect(vcpu.lastCall.call).toBe("none");
  });

  it("hands an EL1 fault to the guest, and refuses to handle it", () => {
    const { vcpu } = scene(here);
    vcpu.cpu.setRegisters({ sctlrEl1: 1n, tcrEl1: 0x5_8080_3519n });
    const fault = vcpu.cpu.read32(2n ** 40n);
    expect(fault).toBeInstanceOf(Fault);
    const { esr, far } = fault as Fault;
    const outcome = vcpu.run(() => vcpu.cpu.read32(2n ** 40n));
    expect(outcome).toEqual({ reason: "inject", ret: 1, esr, far, instruction: false });
    expect(errorOf(() => vcpu.handleAbort(fault as Fault)).code).toBe("BAD_OPTION");
  });

  it("gives an access up that aborts for ever", () => {
    const { vcpu, memory } = scene(here);
    memory.answer = () => "retry";
    const error = errorOf(() => vcpu.run(() => vcpu.cpu.read32(IPA), { attempts: 7 }));
    expect(error).toMatchObject({ code: "EAGAIN", details: { attempts: 7 } });
    expect(memory.asked).toHaveLength(7);
    expect(vcpu.statistics).toMatchObject({ aborts: 7, maps: 0 });
  });

  it.each([
    ["nothing", undefined],
    ["a word", "abort"],
    ["a number for a register", { esr: 1, far: 0n, hpfar: 0n }],
    ["a register of 65 bits", { esr: 2n ** 64n, far: 0n, hpfar: 0n }],
    ["a negative register", { esr: 0n, far: -1n, hpfar: 0n }],
    ["no HPFAR", { esr: 0n, far: 0n }],
  ])("refuses %s for an abort", async (_, abort) => {
    const { vcpu, memory } = scene(here);
    expect(errorOf(() => vcpu.handleAbort(abort as never)).code).toBe("BAD_OPTION");
    expect((await rejectionOf(vcpu.handleAbortAsync(abort as never))).code).toBe("BAD_OPTION");
    expect(memory.asked).toEqual([]);
    expect(vcpu.statistics.aborts).toBe(0);
  });
});

/** Answers that are none, and what must be the matter with them. */
const NONSENSE: [string, unknown][] = [
  ["nothing", undefined],
  ["null", null],
  ["a number", 7],
  ["an unknown word", "gone"],
  ["no address", { writable: true }],
  ["half a page", { pa: RAM + 1, writable: true }],
  ["an address beyond 2^52", { pa: 2 ** 52, writable: true }],
  ["a fraction", { pa: 0.5, writable: true }],
  ["not a number", { pa: NaN, writable: true }],
  ["a bigint", { pa: 4096n, writable: true }],
  ["no word on writing", { pa: RAM }],
  ["a page size below a page", { pa: RAM, writable: true, vmaPageSize: 2048 }],
  ["a page size that is no power of two", { pa: RAM, writable: true, vmaPageSize: 3 * PAGE }],
  ["no page size", { pa: RAM, writable: true, vmaPageSize: 0 }],
  ["a host leaf below a page", { pa: RAM, writable: true, hostSize: 8 }],
  ["a negative host leaf", { pa: RAM, writable: true, hostSize: -4096 }],
  ["an unclear device", { pa: RAM, writable: true, device: 1 }],
  ["non-cacheable memory that is no device", { pa: RAM, writable: true, normalNc: true }],
];

describe.each(MODES)("backings that misbehave (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);
  /** Nothing is mapped, nothing is open: the next abort goes through. */
  function expectUnharmed(at: ReturnType<typeof scene>): void {
    expect(at.vm.stage2.counters().leafCount).toBe(0);
    expect(at.vm.stage2.memoryUsage().tablePages).toBe(2);
    at.memory.answer = page;
    expect(at.vcpu.handleAbort(dataAbort(IPA)).reason).toBe("resume");
    expect(at.vm.stage2.counters().leafCount).toBe(1);
    expect(at.vm.setMemslot({ slot: 1, ipa: 0, size: PAGE, hva: 0 })).toBe("create");
  }

  it.each(NONSENSE)("refuses %s for an answer", async (_, answer) => {
    const at = scene(here);
    at.memory.answer = () => answer as BackingAnswer;
    expect(errorOf(() => at.vcpu.handleAbort(dataAbort(IPA))).code).toBe("BAD_OPTION");
    at.memory.answer = () => Promise.resolve(answer as BackingAnswer);
    expect((await rejectionOf(at.vcpu.handleAbortAsync(dataAbort(IPA)))).code).toBe("BAD_OPTION");
    expectUnharmed(at);
  });

  it("passes on what they throw or reject with", async () => {
    const at = scene(here);
    const failure = new Error("disk on fire");
    at.memory.answer = () => {
      throw failure;
    };
    expect(() => at.vcpu.handleAbort(dataAbort(IPA))).toThrow(failure);
    await expect(at.vcpu.handleAbortAsync(dataAbort(IPA))).rejects.toBe(failure);
    at.memory.answer = () => Promise.reject(failure);
    await expect(at.vcpu.handleAbortAsync(dataAbort(IPA))).rejects.toBe(failure);
    expectUnharmed(at);
  });

  it("refuses a promise where nobody waits, and hears of its rejection", () => {
    const at = scene(here);
    at.memory.answer = () => Promise.reject(new Error("nobody's"));
    expect(errorOf(() => at.vcpu.handleAbort(dataAbort(IPA)))).toMatchObject({
      code: "BAD_OPTION",
      message: expect.stringContaining("handleAbortAsync") as string,
    });
    expectUnharmed(at);
  });

  it("lets them invalidate what they are asked for: the guest tries again", () => {
    const { vm, vcpu, memory } = scene(here);
    memory.answer = (request) => {
      vm.invalidate({ hva: request.hva, size: PAGE }, () => {});
      return page(request);
    };
    expect(vcpu.handleAbort(dataAbort(IPA)).reason).toBe("resume");
    expect(vcpu.lastCall).toMatchObject({ call: "none", retried: true });
    expect(vm.stage2.counters().leafCount).toBe(0);
    memory.answer = page;
    expect(vcpu.handleAbort(dataAbort(IPA)).reason).toBe("resume");
    expect(vm.stage2.counters().leafCount).toBe(1);
  });

  it("lets them delete the slot, and handle another vCPU's abort", () => {
    const { vm, vcpu, memory } = scene(here);
    const other = vm.createVcpu();
    memory.answer = (request) => {
      if (request.vcpu === 1) return page(request);
      expect(other.handleAbort(dataAbort(IPA + PAGE)).reason).toBe("resume");
      expect(vm.setMemslot({ slot: 0, ipa: IPA, size: 0 })).toBe("delete");
      return page(request);
    };
    expect(vcpu.handleAbort(dataAbort(IPA)).reason).toBe("resume");
    expect(vcpu.lastCall.retried).toBe(true);
    expect(vm.stage2.counters().leafCount).toBe(0);
  });

  it("refuses a second abort of a vCPU whose first one waits", () => {
    const at = scene(here);
    at.memory.answer = () => {
      at.vcpu.handleAbort(dataAbort(IPA + PAGE));
      return "error";
    };
    const error = errorOf(() => at.vcpu.handleAbort(dataAbort(IPA)));
    expect(error).toMatchObject({ code: "EBUSY", details: { vcpu: 0 } });
    expectUnharmed(at);
  });

  it("survives the end of everything while it is asked", () => {
    const { vm, vcpu, memory } = scene(here);
    memory.answer = (request) => {
      vm.dispose();
      return page(request);
    };
    expect(errorOf(() => vcpu.handleAbort(dataAbort(IPA))).code).toBe("DISPOSED");
    expect(here.engine.memoryUsage().used).toBe(0);
  });
});

describe.each(MODES)("aborts that wait (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("waits for the page, and lets everything else go on meanwhile", async () => {
    const { vm, vcpu, memory } = scene(here);
    const later = deferred<BackingAnswer>();
    memory.answer = () => later.promise;
    const waiting = vcpu.handleAbortAsync(dataAbort(IPA));
    expect(errorOf(() => vcpu.handleAbort(dataAbort(IPA))).code).toBe("EBUSY");
    expect(vm.setMemslot({ slot: 1, ipa: 0, size: PAGE, hva: 0 })).toBe("create");
    later.resolve(page({ hva: HVA }));
    expect(await waiting).toEqual({ reason: "resume", ret: 1 });
    expect(vm.stage2.lookup(IPA)).toBe(RAM);
  });

  it("ends with its signal's reason, and nothing has happened", async () => {
    const { vm, vcpu, memory } = scene(here);
    const later = deferred<BackingAnswer>();
    memory.answer = () => later.promise;
    const control = new AbortController();
    const reason = new Error("enough");
    const waiting = vcpu.handleAbortAsync(dataAbort(IPA), { signal: control.signal });
    control.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(
      vcpu.handleAbortAsync(dataAbort(IPA), { signal: AbortSignal.abort(reason) }),
    ).rejects.toBe(reason);
    later.resolve(page({ hva: HVA }));
    await later.promise;
    expect(vm.stage2.counters().leafCount).toBe(0);
    memory.answer = page;
    expect(vcpu.handleAbort(dataAbort(IPA)).reason).toBe("resume");
  });

  it.each([
    ["its vCPU", ({ vcpu }: { vcpu: Disposable; vm: Vm }) => vcpu[Symbol.dispose]()],
    ["the VM", ({ vm }: { vcpu: Disposable; vm: Vm }) => vm.dispose()],
  ])("ends with %s", async (_, end) => {
    const at = scene(here);
    at.memory.answer = () => new Promise(() => {});
    const waiting = rejectionOf(at.vcpu.handleAbortAsync(dataAbort(IPA)));
    await Promise.resolve();
    end(at);
    expect((await waiting).code).toBe("DISPOSED");
  });

  it("runs an access whose backing waits", async () => {
    const { vcpu, memory } = scene(here);
    memory.answer = async (request) => {
      await Promise.resolve();
      return page(request);
    };
    expect(await vcpu.runAsync(() => vcpu.cpu.write32(IPA, 5))).toBeUndefined();
    expect(await vcpu.runAsync(() => vcpu.cpu.read32(IPA))).toBe(5);
  });

  it("refuses options that are none", async () => {
    const { vcpu } = scene(here);
    const bad = [{ signl: undefined }, { signal: 1 }, { onProgress: () => {} }, null];
    for (const options of bad) {
      const error = await rejectionOf(vcpu.handleAbortAsync(dataAbort(IPA), options as never));
      expect(error).toBeInstanceOf(Stage2Error);
      expect(error.code).toBe("BAD_OPTION");
    }
    for (const attempts of [0, -1, 1.5, 2 ** 31, "9"]) {
      const error = errorOf(() => vcpu.run(() => 1, { attempts: attempts as number }));
      expect(error.code).toBe("BAD_OPTION");
    }
  });
});

describe.each(MODES)("what a backing is told (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("that a page is dirty, after it was mapped writable", () => {
    const { vcpu, vm, memory } = scene(here);
    const dirtied = vi.fn(() => expect(vm.stage2.lookup(IPA)).toBe(RAM));
    Object.assign(memory, { dirtied });
    vcpu.handleAbort(dataAbort(IPA, { size: 4, write: true }));
    expect(dirtied.mock.calls).toEqual([[RAM]]);
    vcpu.handleAbort(dataAbort(IPA, { size: 4, write: true })); // the same again: too late
    expect(dirtied).toHaveBeenCalledTimes(1);
  });

  it("that a page was used, by an access-flag fault", () => {
    const { vcpu, vm, memory } = scene(here, { ha: false });
    const accessed = vi.fn();
    Object.assign(memory, { accessed });
    vcpu.run(() => vcpu.cpu.write32(IPA, 1));
    vm.clearFlushYoung({ hva: HVA, size: PAGE });
    expect(vcpu.run(() => vcpu.cpu.read32(IPA))).toBe(1);
    expect(accessed.mock.calls).toEqual([[RAM]]);
    expect(vcpu.lastCall).toMatchObject({ call: "mkyoung", ipa: IPA });
    expect(vm.testYoung(HVA)).toBe(true);
  });

  it("nothing where there is no backing: no page can be had", () => {
    const vm = here.keep(here.engine.vm());
    vm.setMemslot({ slot: 0, ipa: IPA, size: PAGE, hva: HVA });
    expect(errorOf(() => vm.createVcpu().handleAbort(dataAbort(IPA))).code).toBe("EFAULT");
  });
});

describe.each(MODES)("where the CPU does not say what failed (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it("finds it by the guest's own stage 1", () => {
    const { vm, memory } = scene(here);
    const vcpu = vm.createVcpu({ hpfarOnPermission: "poison" });
    memory.answer = (request) => ({ ...page(request), writable: request.write });
    expect(vcpu.run(() => vcpu.cpu.read32(IPA + 4))).toBe(0);
    const fault = vcpu.cpu.write32(IPA + 4, 7) as Fault;
    expect(fault).toMatchObject({ type: "permission", ipa: undefined });
    expect(vcpu.handleAbort(fault)).toEqual({ reason: "resume", ret: 1 });
    expect(vcpu.lastCall).toMatchObject({ call: "relax", ipa: IPA, result: 0 });
    expect(vcpu.cpu.write32(IPA + 4, 7)).toBeUndefined();
    expect(memory.asked.at(-1)).toMatchObject({ write: true, permission: true, ipa: IPA });
  });

  it("lets the guest try again if that leads nowhere any more", () => {
    const { vm, memory } = scene(here);
    const vcpu = vm.createVcpu({ hpfarOnPermission: "poison" });
    memory.answer = (request) => ({ ...page(request), writable: request.write });
    vcpu.run(() => vcpu.cpu.read32(IPA));
    const fault = vcpu.cpu.write32(IPA, 7) as Fault;
    const asked = memory.asked.length;
    vcpu.cpu.setRegisters({ sctlrEl1: 1n, tcrEl1: 0x5_80a0_3519n, ttbr0El1: BigInt(IPA + PAGE) });
    expect(vcpu.handleAbort(fault)).toEqual({ reason: "resume", ret: 1 });
    expect(vcpu.lastCall.call).toBe("none");
    expect(memory.asked).toHaveLength(asked);
  });
});

describe.each(MODES)("an abort whose vCPU ends at once (%s)", (mode) => {
  const here = lab(mode, WITH_RAM);

  it.each(["vcpu", "vm"] as const)("by its %s, is not asked for any more", async (which) => {
    const at = scene(here);
    at.memory.answer = () => new Promise(() => {});
    const waiting = rejectionOf(at.vcpu.handleAbortAsync(dataAbort(IPA)));
    at[which].dispose();
    expect((await waiting).code).toBe("DISPOSED");
  });

  it("leaves the next one alone when a late answer comes", async () => {
    const at = scene(here);
    const first = deferred<BackingAnswer>();
    at.memory.answer = () => first.promise;
    const control = new AbortController();
    const aborted = at.vcpu.handleAbortAsync(dataAbort(IPA), { signal: control.signal });
    await Promise.resolve();
    control.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    at.memory.answer = () => new Promise(() => {});
    const next = rejectionOf(at.vcpu.handleAbortAsync(dataAbort(IPA)));
    await Promise.resolve();
    first.resolve(page({ hva: HVA }));
    await first.promise;
    at.vcpu.dispose();
    expect((await next).code).toBe("DISPOSED");
  });
});
