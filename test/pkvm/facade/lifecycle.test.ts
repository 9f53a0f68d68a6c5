/** Beginning and end: who owns a machine and a guest, what keeps them from ending, other threads, use after the end. */
import { describe, expect, it } from "vitest";
import {
  Engine,
  type Pkvm,
  type PkvmHandle,
  type PkvmStage2Handle,
  Prot,
  type Stage2Handle,
} from "../../../src/index.ts";
import { MODES, SMALL, errorOf, lab } from "../../support.ts";
import { MEMORY, PAGE, RAM, beds, makeGuest, state, tearDown } from "../support.ts";

const IPA = 0x4000_0000;
const options = { memory: MEMORY } as const;

describe.each(MODES)("the life of a pKVM machine (%s)", (mode) => {
  const here = lab(mode);

  /** Whatever can be asked of a machine. */
  const uses = (pkvm: Pkvm): (() => unknown)[] => [
    () => pkvm.hypercall("shareHyp", RAM / PAGE),
    () => pkvm.hypercall(999),
    () => pkvm.hostAbort(RAM),
    () => pkvm.pageState(RAM),
    () => pkvm.ranges().next(),
    () => pkvm.vms(),
    () => pkvm.vmState(0x1000),
    () => pkvm.vcpuState(0x1000, 0),
    () => pkvm.loaded,
    () => pkvm.stage2(),
    () => pkvm.memcache(),
    () => pkvm.hostPage(),
    () => pkvm.freeHostPage(RAM / PAGE),
    () => pkvm.hostPages,
    () => pkvm.hostTableQuota,
    () => pkvm.handle,
    () => pkvm.hostStage2.lookup(RAM),
    () => pkvm.hypStage1.leaves().next(),
  ];

  it("ends with all that it has, and refuses use from then on", () => {
    const pkvm = here.engine.pkvm(options);
    const cache = pkvm.memcache();
    cache.topup(5);
    pkvm.hypercall("donateHyp", RAM / PAGE, 3);
    pkvm.hostAbort(RAM + 4 * PAGE);
    pkvm.dispose();
    pkvm.dispose();
    expect(pkvm.isOpen).toBe(false);
    expect(here.engine.memoryUsage().used).toBe(0);
    expect(uses(pkvm).map((use) => errorOf(use).code)).toEqual(uses(pkvm).map(() => "DISPOSED"));
    expect(errorOf(() => cache.pages).code).toBe("DISPOSED");
    cache.dispose();
  });

  it("does not end while it has VMs, and nothing is lost by asking", () => {
    const pkvm = here.engine.pkvm(options);
    const cache = pkvm.memcache();
    cache.topup(2);
    const s2 = pkvm.stage2();
    const error = errorOf(() => pkvm.dispose());
    expect([error.code, error.details["vm"]]).toEqual(["EBUSY", s2.vmHandle]);
    expect([pkvm.isOpen, cache.pages]).toEqual([true, 2]);
    s2.dispose();
    pkvm.dispose();
    expect(pkvm.isOpen).toBe(false);
  });

  it("does not end under a lock", () => {
    const pkvm = here.keep(here.engine.pkvm(options));
    const s2 = here.keep(pkvm.stage2());
    if (mode === "threads") void here.engine.handle; // else there is nobody to lock out
    expect(errorOf(() => s2.mmuLock.write(() => pkvm.dispose())).code).toBe("EDEADLK");
    expect(pkvm.isOpen).toBe(true);
  });

  it("lives beside another", () => {
    const [one, other] = [here.engine.pkvm(options), here.engine.pkvm(options)];
    one.hypercall("shareHyp", RAM / PAGE);
    expect([one, other].map((pkvm) => pkvm.pageState(RAM).host)).toEqual(["SHARED_OWNED", "OWNED"]);
    one.dispose();
    expect(other.pageState(RAM).host).toBe("OWNED");
    other.dispose();
  });

  it("leaves nothing behind where it cannot be made", async () => {
    using engine = await Engine.create({ ...SMALL, mode, maxTablePages: 8 });
    for (let tableBudget = 0; tableBudget <= 8; tableBudget++) {
      engine.tableBudget = tableBudget;
      try {
        engine.pkvm({ memory: [{ pa: RAM, size: 2 ** 20 }] }).dispose();
      } catch (error) {
        expect(error).toMatchObject({ code: "ENOMEM" });
      }
      expect(engine.memoryUsage().used).toBe(0);
    }
  });

  it("ends with the engine, guests and memcaches along", async () => {
    const engine = await Engine.create({ ...SMALL, mode });
    const pkvm = engine.pkvm(options);
    const [s2, cache] = [pkvm.stage2(), pkvm.memcache()];
    cache.topup(3);
    engine.dispose();
    const codes = [() => pkvm.vms(), () => s2.lookup(0), () => cache.pages].map(
      (use) => errorOf(use).code,
    );
    expect(codes).toEqual(codes.map(() => "DISPOSED"));
  });

  it.each<[string, (handle: PkvmHandle) => unknown, string]>([
    ["nothing", () => undefined, "BAD_OPTION"],
    ["a table's", (handle) => ({ ...handle, kind: "stage2-table" }), "BAD_OPTION"],
    ["half a one", ({ kind: _, ...handle }) => handle, "BAD_OPTION"],
    [
      "too long a pointer",
      (handle) => ({ ...handle, pointer: handle.pointer + 2 ** 32 }),
      "DISPOSED",
    ],
    ["a pointer that is none", (handle) => ({ ...handle, pointer: -handle.pointer }), "DISPOSED"],
    ["another engine's", (handle) => ({ ...handle, engine: "other" }), "FOREIGN"],
    ["an earlier machine's", (handle) => ({ ...handle, generation: 99 }), "DISPOSED"],
    ["a pointer to nothing", (handle) => ({ ...handle, pointer: 12345 }), "DISPOSED"],
  ])("is not attached to by %s", (_, change, code) => {
    const pkvm = here.keep(here.engine.pkvm(options));
    const handle = change(pkvm.handle) as PkvmHandle;
    expect(errorOf(() => here.engine.attachPkvm(handle)).code).toBe(code);
  });
});

describe.each(MODES)("the life of its guests (%s)", (mode) => {
  const bed = beds({}, mode);

  it("P-7.1: everything is as it was when a guest ends, whatever it had mapped", () => {
    const { pkvm, page } = bed();
    const pfn = page();
    const before = [...pkvm.ranges()];
    const s2 = pkvm.stage2({ vcpus: 2 });
    s2.map({ ipa: IPA, size: PAGE, pa: pfn * PAGE, prot: Prot.RW });
    expect([...pkvm.ranges()]).not.toEqual(before);
    s2.dispose();
    s2.dispose();
    expect([...pkvm.ranges()]).toEqual(before);
    expect(pkvm.hostPages.free).toBe(pkvm.hostPages.all);
    const codes = [
      () => s2.map({ ipa: IPA, size: PAGE, pa: pfn * PAGE, prot: Prot.RW }),
      () => s2.unmap({ ipa: IPA, size: PAGE }),
      () => s2.createUnlinked(),
      () => s2.mappings().next(),
      () => s2.statistics,
      () => s2.vmHandle,
      () => s2.leaves(),
    ].map((use) => errorOf(use).code);
    expect(codes).toEqual(codes.map(() => "DISPOSED"));
  });

  it("does not end while one of its vCPUs was loaded by hand", () => {
    const { pkvm, call, keep } = bed();
    const s2 = keep(pkvm.stage2({ vcpus: 1 }));
    expect(call("vcpuLoad", s2.vmHandle, 0)).toBe(0);
    const error = errorOf(() => s2.dispose());
    expect([error.code, error.message]).toEqual([
      "EBUSY",
      "dispose: a vCPU of the guest is loaded",
    ]);
    expect(call("vcpuPut")).toBe(0);
    s2.dispose();
    expect(pkvm.vms()).toEqual([]);
  });

  it("is not Stage2's to attach to, nor a Stage2 its own", () => {
    const { engine, pkvm, keep } = bed();
    const [plain, guest] = [keep(engine.stage2()), keep(pkvm.stage2())];
    const attachPlain = (): unknown => engine.attachStage2(guest.handle as Stage2Handle);
    const attachGuest = (): unknown => engine.attachPkvmStage2(plain.handle as PkvmStage2Handle);
    expect(errorOf(attachPlain).code).toBe("BAD_OPTION");
    expect(errorOf(attachGuest).code).toBe("BAD_OPTION");
  });

  it("stays when an attached object lets go", () => {
    const { engine, pkvm, keep, page } = bed();
    const s2 = keep(pkvm.stage2());
    const other = engine.attachPkvmStage2(s2.handle);
    const pfn = page();
    expect(other.map({ ipa: IPA, size: PAGE, pa: pfn * PAGE, prot: Prot.RW })).toBe("ok");
    expect([...s2.mappings()]).toEqual([...other.mappings()]);
    expect(other.vmHandle).toBe(s2.vmHandle);
    other.dispose();
    expect(state(pkvm, pfn).guestMappings).toBe(1);
    expect(errorOf(() => other.lookup(IPA)).code).toBe("DISPOSED");
  });

  it("goes to whoever attaches to own it", () => {
    const { engine, pkvm } = bed();
    const s2 = pkvm.stage2();
    const owner = engine.attachPkvmStage2(s2.handle, { own: true });
    owner.dispose();
    expect(pkvm.vms()).toEqual([]);
    const uses = [
      () => s2.map({ ipa: IPA, size: PAGE, pa: RAM, prot: Prot.RW }),
      () => s2.unmap({ ipa: IPA, size: PAGE }),
      () => s2.statistics,
      () => s2.vmHandle,
      () => s2.mappings().next(),
      () => s2.createUnlinked(),
      () => s2.freeUnlinked(),
    ];
    expect(uses.map((use) => errorOf(use).code)).toEqual(uses.map(() => "DISPOSED"));
    s2.dispose(); // nothing is left for it to do
  });
});

describe("another thread", () => {
  const bed = beds({}, "threads");

  it("is another CPU of the machine", async () => {
    const b = bed();
    const { engine, pkvm, call } = b;
    const { handle } = makeGuest(b, { vcpus: 2 });
    const second = await Engine.attach(engine.handle);
    const cpu = second.attachPkvm(structuredClone(pkvm.handle));
    expect([cpu.features, cpu.regions, cpu.paBits]).toEqual([
      pkvm.features,
      pkvm.regions,
      pkvm.paBits,
    ]);
    expect(cpu.loaded).toBeUndefined();
    expect(cpu.hypercall("vcpuLoad", handle, 0)).toBe(-22);
    expect(cpu.hypercall("vcpuLoad", handle, 1)).toBe(0);
    expect([pkvm.loaded?.index, cpu.loaded?.index]).toEqual([0, 1]);
    expect(pkvm.vcpuState(handle, 1)?.thread).toBe(second.thread);
    const pfn = b.page();
    expect(cpu.hypercall("shareHyp", pfn)).toBe(0);
    expect(state(pkvm, pfn).sharedWith).toBe("hyp");
    expect(call("unshareHyp", pfn)).toBe(0);
    expect(cpu.hypercall("vcpuPut")).toBe(0);
    cpu.dispose();
    expect(pkvm.isOpen).toBe(true);
    second.dispose();
    tearDown(pkvm, handle);
  });

  it("maps into the same guest, from another thread's memory of it", async () => {
    const { engine, pkvm, keep, page } = bed();
    const s2 = keep(pkvm.stage2());
    const second = await Engine.attach(engine.handle);
    const other = second.attachPkvmStage2(structuredClone(s2.handle));
    const pfn = page();
    expect(other.map({ ipa: IPA, size: PAGE, pa: pfn * PAGE, prot: Prot.RW })).toBe("ok");
    expect(s2.map({ ipa: IPA, size: PAGE, pa: pfn * PAGE, prot: Prot.RW })).toBe("again");
    expect(s2.lookup(IPA)).toBe(pfn * PAGE);
    s2.unmap({ ipa: IPA, size: PAGE });
    expect([...other.mappings()]).toEqual([]);
    second.dispose();
  });

  it("owns the machine if it attaches to own it", async () => {
    const { engine } = bed();
    const pkvm = engine.pkvm(options);
    const second = await Engine.attach(engine.handle);
    second.attachPkvm(pkvm.handle, { own: true }).dispose();
    expect(pkvm.isOpen).toBe(false);
    pkvm.dispose();
    second.dispose();
  });
});
