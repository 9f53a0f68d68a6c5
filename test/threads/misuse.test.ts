/** What must not be done with threads: each is refused with the cause named, and nothing has changed. */
import { describe, expect, it } from "vitest";
import {
  Engine,
  Prot,
  type Stage2,
  type Vcpu,
  setReadonly,
  testAndClearYoung,
} from "../../src/index.ts";
import { MODES, SMALL, errorOf, lab, rejectionOf } from "../support.ts";
import { IPA, PAGE, RAM, crew } from "./support.ts";

const RANGE = { ipa: IPA, size: PAGE };
const MAP = { ...RANGE, pa: RAM.pa, prot: Prot.RW };

const CHANGES: [string, (s2: Stage2) => unknown][] = [
  ["map", (s2) => s2.map(MAP)],
  ["unmap", (s2) => s2.unmap(RANGE)],
  ["wrprotect", (s2) => s2.wrprotect(RANGE)],
  ["testClearYoung", (s2) => s2.testClearYoung(RANGE)],
  ["relaxPerms", (s2) => s2.relaxPerms({ ipa: IPA, prot: Prot.X })],
  ["mkyoung", (s2) => s2.mkyoung(IPA)],
  ["setOwner", (s2) => s2.setOwner({ ...RANGE, owner: 1 })],
  ["split", (s2) => s2.split(RANGE)],
  ["tlbFlushRange", (s2) => s2.tlbFlushRange(RANGE)],
  ["testAndClearYoung", (s2) => testAndClearYoung(s2, IPA)],
  ["setReadonly", (s2) => setReadonly(s2, IPA)],
  ["dispose", (s2) => s2.dispose()],
];

describe.each(MODES)("a thread whose vCPU is in the guest (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, guestRam: RAM });

  function inside(): { s2: Stage2; vcpu: Vcpu } {
    const s2 = here.keep(here.engine.stage2());
    const vcpu = here.keep(here.engine.vcpu(s2));
    s2.map(MAP);
    vcpu.enter();
    return { s2, vcpu };
  }

  it.each(CHANGES)("may not change tables: %s", (_name, operation) => {
    const { s2, vcpu } = inside();
    const before = s2.dump();
    const error = errorOf(() => operation(s2));
    expect(error).toMatchObject({ code: "EDEADLK", errno: 35 });
    expect(error.details).toMatchObject({ vcpu: vcpu.number });
    expect(error.message).toContain("this thread is inside the bracket of a vCPU");
    expect(s2.dump()).toBe(before);
    vcpu.exit();
    operation(s2);
  });

  it("may not invalidate TLBs but as the guest that it is", () => {
    const { s2, vcpu } = inside();
    const error = errorOf(() => here.engine.tlbi("VMALLS12E1", { vmid: s2.vmid }));
    expect(error).toMatchObject({ code: "EDEADLK", details: { vcpu: vcpu.number } });
    const idle = here.keep(here.engine.vcpu(s2));
    expect(errorOf(() => idle.tlbi("VMALLE1"))).toMatchObject({
      code: "EDEADLK",
      details: { vcpu: vcpu.number },
    });
    idle.tlbi("VMALLE1", { local: true });
    vcpu.tlbi("VMALLE1");
    vcpu.exit();
    here.engine.tlbi("VMALLS12E1", { vmid: s2.vmid });
  });

  it("may not take a lock, and enters with one vCPU at a time", () => {
    const { s2, vcpu } = inside();
    for (const call of ["acquireRead", "acquireWrite", "tryRead", "tryWrite"] as const) {
      const error = errorOf(() => s2.mmuLock[call]());
      expect(error).toMatchObject({ code: "EDEADLK", details: { vcpu: vcpu.number } });
    }
    const second = here.keep(here.engine.vcpu(s2));
    const error = errorOf(() => second.enter());
    expect(error).toMatchObject({ code: "EBUSY", errno: 16 });
    expect(error.details).toEqual({ vcpu: second.number, inside: vcpu.number });
    expect(here.engine.threads()).toMatchObject([{ self: true, vcpu: vcpu.number }]);
    vcpu.exit();
    for (const side of ["read", "write"] as const) {
      const held = errorOf(() => s2.mmuLock[side](() => second.enter()));
      expect(held).toMatchObject({ code: "EDEADLK", errno: 35 });
      expect(held.details).toEqual({ vcpu: second.number, lock: s2.vmid, side });
      expect(held.message).toContain(`enter: this thread holds the ${side} side of the mmu_lock`);
    }
    expect(second.enter()).toBe(0);
    expect(errorOf(() => here.engine.quiesce()).message).toContain("is inside the bracket");
    second.exit();
    expect(here.engine.threads()).toMatchObject([{ self: true, vcpu: undefined }]);
  });

  it("may look at tables, and hand its vCPU back", () => {
    const { s2, vcpu } = inside();
    expect(s2.lookup(IPA)).toBe(RAM.pa);
    expect([...s2.leaves()].length).toBe(1);
    vcpu.dispose();
    s2.unmap(RANGE);
  });
});

describe("joining", () => {
  const here = crew({ maxThreads: 2 });

  it("is refused beyond the slots that there are, with their number", async () => {
    const one = await here.hire();
    const error = await rejectionOf(Engine.attach(here.engine.handle));
    expect(error.code).toBe("TOO_MANY_THREADS");
    expect(error.details).toMatchObject({ maxThreads: 2 });
    expect(error.message).toContain("reclaimThread");
    await one.do("engine", "dispose");
    (await Engine.attach(here.engine.handle)).dispose();
  });

  it("is refused to memory that is no engine's, or an older version's", async () => {
    const { handle } = here.engine;
    const foreign = new WebAssembly.Memory({ initial: 4, maximum: 4, shared: true });
    new Uint8Array(foreign.buffer).fill(0xa5);
    const error = await rejectionOf(Engine.attach({ ...handle, memory: foreign }));
    expect(error).toMatchObject({ code: "NOT_STAGE2_MEMORY", details: { base: handle.base } });
    const words = new Uint32Array(handle.memory.buffer, handle.base, 4);
    const version = words[2] as number; // the word after the magic number
    words[2] = version - 1;
    const older = await rejectionOf(Engine.attach(handle));
    expect(older).toMatchObject({
      code: "BAD_VERSION",
      details: { found: version - 1, expected: version },
    });
    words[2] = version;
    const memory = new WebAssembly.Memory({ initial: handle.memory.buffer.byteLength / 65_536 });
    const plain = await rejectionOf(Engine.attach({ ...handle, memory }));
    expect(plain.code).toBe("BAD_OPTION");
    expect(plain.message).toContain("not the core for a memory that is not shared");
    expect(here.engine.threads()).toHaveLength(1);
  });

  it("is refused to a table by what is no handle of one", () => {
    const { engine, s2 } = here;
    for (const handle of [undefined, null, 5, "s2", {}, s2, engine.handle]) {
      const error = errorOf(() => engine.attachStage2(handle as never));
      expect(error.code).toBe("BAD_OPTION");
      expect(error.message).toContain("no handle of a stage-2 page table");
    }
  });

  it("takes a patience that is one", async () => {
    const { engine } = here;
    for (const patience of [9, 600_001, 1.5, "10", null]) {
      const options = { patience } as never;
      expect((await rejectionOf(Engine.attach(engine.handle, options))).code).toBe("BAD_OPTION");
      expect((await rejectionOf(Engine.create(options))).code).toBe("BAD_OPTION");
      expect(errorOf(() => (engine.patience = patience as never)).code).toBe("BAD_OPTION");
    }
    expect(engine.patience).toBe(400);
    const other = await Engine.attach(engine.handle, { patience: 10 });
    expect([other.patience, engine.patience]).toEqual([10, 400]);
    expect([engine.thread, other.thread]).toEqual([0, 1]);
    other.dispose();
    expect(errorOf(() => engine.attachStage2(here.s2.handle, { own: 1 as never })).code).toBe(
      "BAD_OPTION",
    );
    expect(errorOf(() => engine.attachStage2(here.s2.handle, { owns: true } as object)).code).toBe(
      "BAD_OPTION",
    );
  });
});
