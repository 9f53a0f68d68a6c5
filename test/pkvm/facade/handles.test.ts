/** Tables that are looked at and not touched: nobody attaches to a hypervisor's tables, or a VM's, whatever handle is forged. */
import { describe, expect, it } from "vitest";
import { Engine, type PkvmStage2Handle, Prot, type Stage2Handle } from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import { MEMORY, PAGE, RAM, beds, makeGuest, snapshot, state } from "../support.ts";

const IPA = 0x4000_0000;
const OWN = { own: true } as const;

describe.each(MODES)("tables that are looked at (%s)", (mode) => {
  const bed = beds({ generation: "newest" }, mode);

  it("nobody changes the host's stage 2 but the hypervisor", () => {
    const { engine, pkvm, call, page } = bed();
    const pfn = page();
    expect(call("donateHyp", pfn, 1)).toBe(0);
    const { handle } = pkvm.hostStage2;
    for (const options of [{}, OWN]) {
      expect(errorOf(() => engine.attachStage2(handle, options)).code).toBe("BAD_OPTION");
    }
    expect(pkvm.hostStage2.lookup(pfn * PAGE)).toBeUndefined();
    expect(call("hypDonateHost", pfn, 1)).toBe(0);
  });

  it("nobody changes a guest's but the hypervisor: neither one made by hand, nor one of the host's code", () => {
    const b = bed();
    const { engine, pkvm, keep } = b;
    const raw = makeGuest(b, { load: false });
    const s2 = keep(pkvm.stage2());
    const before = snapshot(pkvm);
    for (const handle of [raw.handle, s2.vmHandle]) {
      const view = pkvm.vmState(handle)?.stage2.handle as Stage2Handle;
      const { machine: _, ...forged } = { ...s2.handle, ...view };
      expect(errorOf(() => engine.attachStage2(view)).code).toBe("BAD_OPTION");
      expect(errorOf(() => engine.attachStage2(forged, OWN)).code).toBe("BAD_OPTION");
    }
    expect(snapshot(pkvm)).toEqual(before);
  });

  it("the hypervisor's own stage 1 is no guest's", () => {
    const { engine, pkvm, keep } = bed();
    const s2 = keep(pkvm.stage2());
    const { pointer } = pkvm.hypStage1;
    const generation = engine.context.core.pgt_generation(pointer);
    const forged: PkvmStage2Handle = { ...s2.handle, pointer, generation };
    expect(errorOf(() => engine.attachPkvmStage2(forged)).code).toBe("BAD_OPTION");
    expect(errorOf(() => engine.attachStage2(forged)).code).toBe("BAD_OPTION");
  });

  it("only what the host's code keeps of a guest is attached to as a guest's", () => {
    const b = bed();
    const { engine, pkvm, keep } = b;
    const plain = keep(engine.stage2());
    const raw = makeGuest(b, { load: false });
    const machine = pkvm.handle.pointer;
    const tables = [plain, pkvm.hostStage2, pkvm.vmState(raw.handle)?.stage2];
    for (const table of tables) {
      const forged = { ...(table?.handle as Stage2Handle), machine };
      for (const options of [{}, OWN]) {
        const error = errorOf(() => engine.attachPkvmStage2(forged, options));
        expect(error.code).toBe("BAD_OPTION");
      }
    }
    const s2 = keep(pkvm.stage2());
    const pfn = b.page();
    expect(s2.map({ ipa: IPA, size: PAGE, pa: pfn * PAGE, prot: Prot.RW })).toBe("ok");
    expect(pkvm.hostAbort(b.page() * PAGE)).toBe("mapped");
  });

  it.each<[string, (machine: number, other: number) => unknown, string]>([
    ["no machine", () => undefined, "BAD_OPTION"],
    ["another machine", (_, other) => other, "BAD_OPTION"],
    ["a longer number", (machine) => machine + 2 ** 32, "BAD_OPTION"],
    ["text", (machine) => `${machine}`, "BAD_OPTION"],
  ])("a guest is attached to with its machine, not with %s", (_, change, code) => {
    const { engine, pkvm, keep } = bed();
    const other = keep(engine.pkvm({ memory: MEMORY }));
    const s2 = keep(pkvm.stage2());
    const machine = change(pkvm.handle.pointer, other.handle.pointer) as number;
    expect(errorOf(() => engine.attachPkvmStage2({ ...s2.handle, machine })).code).toBe(code);
    const { pointer } = s2.handle;
    const long = { ...s2.handle, pointer: pointer + 2 ** 32 };
    expect(errorOf(() => engine.attachPkvmStage2(long)).code).toBe("DISPOSED");
    engine.attachPkvmStage2(s2.handle).dispose();
  });

  it("a VM's table is the VM's, on a machine and on none", () => {
    const { engine, pkvm, keep } = bed();
    for (const vm of [keep(engine.vm({ pkvm })), keep(engine.vm())]) {
      const view = vm.stage2.handle;
      const forged = { ...view, machine: pkvm.handle.pointer };
      for (const options of [{}, OWN]) {
        expect(errorOf(() => engine.attachStage2(view, options)).code).toBe("BAD_OPTION");
        expect(errorOf(() => engine.attachPkvmStage2(forged, options)).code).toBe("BAD_OPTION");
      }
      const long = { ...vm.handle, pointer: vm.handle.pointer + 2 ** 32 };
      expect(errorOf(() => engine.attachVm(long)).code).toBe("DISPOSED");
    }
  });
});

it.each(MODES)(
  "a machine's tables are what the machine has, whatever its handle says (%s)",
  async (mode) => {
    using engine = await Engine.create({ maxTablePages: 4096, maxThreads: 4, mode });
    const cpu = { fwb: true, lpa2: true, ha: false, tlbiRange: true, icache: false } as const;
    using pkvm = engine.pkvm({ memory: MEMORY, ...cpu });
    using other = engine.attachPkvm({ ...pkvm.handle, table: -1 } as typeof pkvm.handle);
    pkvm.hypercall("donateHyp", RAM / PAGE, 1);
    for (const look of ["hostStage2", "hypStage1"] as const) {
      expect(other[look].shape).toEqual(pkvm[look].shape);
      expect([...other[look].leaves()]).toEqual([...pkvm[look].leaves()]);
    }
    using vm = engine.vm({ pkvm: other });
    using plain = engine.vm({ protected: true, hostIpaBits: 40, ...cpu });
    expect(vm.stage2.vtcr).toBe(plain.stage2.vtcr);
    expect(errorOf(() => engine.vm({ pkvm: other, fwb: false })).code).toBe("BAD_OPTION");
    expect(state(pkvm, RAM / PAGE).owner).toBe("hyp");
  },
);
