/** Rows M-1.x: IPA size of a VM, what init makes, what teardown leaves. */
import { describe, expect, it } from "vitest";
import type { VmCore } from "../../../src/vm/_abi.ts";
import { type Granule, geometry } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { GRANULES, Guest, HVA, IPA, LOG, SIZES } from "./support.ts";

const HOST_LIMITS = [32, 36, 40, 42, 44, 48];
const PAGE_SHIFT: Record<Granule, number> = { "4K": 12, "16K": 14, "64K": 16 };

describe.each(MODES)("the IPA size of a VM (%s)", (mode) => {
  const here = lab(mode);
  const sizeOf = (options: object) => {
    const vm = here.engine.vm(options);
    const { ipaBits } = vm.stage2;
    vm.dispose();
    return ipaBits;
  };
  const refused = (options: object) => errorOf(() => here.engine.vm(options)).code;

  it("M-1.1: a machine type with bits outside 7:0 is refused, whatever the size in it", () => {
    for (let at = 8; at <= 30; at++) {
      expect(refused({ type: 2 ** at + 40 }), `bit ${at}`).toBe("EINVAL");
      expect(refused({ type: 2 ** at }), `bit ${at}`).toBe("EINVAL");
    }
    expect(refused({ type: 2 ** 31 + 40 })).toBe("EINVAL");
    expect(refused({ type: 2 ** 40 + 40 })).toBe("BAD_OPTION"); // more than 32 bits
  });

  it("M-1.2: type 0 is 40 bits where the host has them", () => {
    for (const hostIpaBits of [40, 42, 44, 48]) {
      expect(sizeOf({ type: 0, hostIpaBits })).toBe(40);
      expect(sizeOf({ ipaBits: 0, hostIpaBits })).toBe(40);
      expect(sizeOf({ hostIpaBits })).toBe(40);
    }
    expect(sizeOf({})).toBe(40);
  });

  it("M-1.3: type 0 is refused where the host has fewer than 40 bits", () => {
    for (const hostIpaBits of [32, 36]) {
      expect(refused({ type: 0, hostIpaBits })).toBe("EINVAL");
      expect(refused({ hostIpaBits })).toBe("EINVAL");
    }
  });

  it.each(GRANULES)("M-1.4: 32 to the host's limit are taken as they are, %s pages", (granule) => {
    for (const hostIpaBits of HOST_LIMITS) {
      for (let type = 32; type <= hostIpaBits; type++) {
        expect(sizeOf({ type, hostIpaBits, granule })).toBe(type);
      }
    }
    expect(sizeOf({ ipaBits: 33 })).toBe(33);
    expect(sizeOf({ type: 52, granule: "64K", pa52: true })).toBe(52);
    expect(sizeOf({ type: 52, lpa2: true })).toBe(52);
  });

  it("M-1.5: 1 to 31 are refused", () => {
    for (let type = 1; type < 32; type++) expect(refused({ type })).toBe("EINVAL");
  });

  it("M-1.6: more than the host's limit is refused", () => {
    for (const hostIpaBits of HOST_LIMITS) {
      for (const type of [hostIpaBits + 1, 52, 64, 255].filter((bits) => bits > hostIpaBits)) {
        expect(refused({ type, hostIpaBits }), `${type} of ${hostIpaBits}`).toBe("EINVAL");
      }
    }
  });

  it("M-1.7: in protected mode the size is the host's limit; unknown bits are refused all the same", () => {
    for (const hostIpaBits of HOST_LIMITS) {
      for (const type of [0, 1, 33, 40, 200]) {
        expect(sizeOf({ type, hostIpaBits, protected: true })).toBe(hostIpaBits);
      }
    }
    expect(refused({ type: 0x128, protected: true })).toBe("EINVAL");
  });

  it("M-1.8: the size does not change what the guest reads of ID_AA64MMFR0_EL1", () => {
    const registers = [32, 33, 36, 40, 47].map((ipaBits) => {
      const vm = here.keep(here.engine.vm({ ipaBits }));
      return vm.createVcpu().cpu.registers.idAa64mmfr0El1;
    });
    expect(new Set(registers).size).toBe(1);
    expect((registers[0] as bigint) & 0xfn).toBe(5n); // 48 bits
  });

  it("M-1.9: VTCR has HA always, HD never, VS as VMIDBits, DS as LPA2", () => {
    for (const vmidBits of [8, 16] as const) {
      for (const lpa2 of [false, true]) {
        const { vtcr } = here.keep(here.engine.vm({ vmidBits, lpa2 })).stage2;
        const bit = (at: bigint) => (vtcr >> at) & 1n;
        expect(bit(21n), "HA").toBe(1n);
        expect(bit(22n), "HD").toBe(0n);
        expect(bit(19n), "VS").toBe(vmidBits === 16 ? 1n : 0n);
        expect(bit(32n), "DS").toBe(lpa2 ? 1n : 0n);
        expect(vtcr & 0x3fn, "T0SZ").toBe(24n);
      }
    }
  });

  it.each(GRANULES)("M-1.10: floor((IPA - 8) / index bits) levels, at least 2, %s", (granule) => {
    for (let ipaBits = 32; ipaBits <= 48; ipaBits++) {
      const levels = Math.max(2, Math.floor((ipaBits - 8) / (PAGE_SHIFT[granule] - 3)));
      const vm = here.engine.vm({ ipaBits, granule });
      expect(vm.stage2.startLevel, `${ipaBits} bits`).toBe(4 - levels);
      expect(vm.stage2.rootBytes / SIZES[granule].page).toBeLessThanOrEqual(16);
      vm.dispose();
    }
  });
});

describe.each(MODES)("making a VM (%s)", (mode) => {
  const here = lab(mode);
  /** The core's own calls: the facade makes and initialises in one step. */
  const raw = () => here.engine.context.core as unknown as VmCore;
  const init = (vm: number, nested: number, type = 40) => {
    here.engine.context.setArgument(0, 5n);
    here.engine.context.setArgument(1, 0x21n);
    return raw().vm_init(vm, type, 0, 0, nested);
  };
  const described = (vm: number) => {
    const table = raw().vm_describe(vm);
    return [table, ...[0, 1, 2, 3, 4, 5, 6, 7].map((at) => here.engine.context.result(at))];
  };

  it("M-1.20: a second init is refused and changes nothing", () => {
    const vm = raw().vm_create(12, 48, 0);
    expect(init(vm, 0)).toBe(0);
    const before = described(vm);
    const { used } = here.engine.memoryUsage();
    expect(init(vm, 0, 36)).toBe(-22);
    expect(described(vm)).toEqual(before);
    expect(here.engine.memoryUsage().used).toBe(used);
    expect(raw().vm_destroy(vm)).toBe(0);
  });

  it("M-1.21: for a nested MMU a second init is no error and does nothing", () => {
    const vm = raw().vm_create(12, 48, 0);
    expect(init(vm, 1)).toBe(0);
    const before = described(vm);
    expect(init(vm, 1)).toBe(0);
    expect(described(vm)).toEqual(before);
    expect(raw().vm_destroy(vm)).toBe(0);
  });

  it("M-1.22: with a bad size nothing is allocated", () => {
    for (const type of [0x128, 31, 49]) errorOf(() => here.engine.vm({ type, events: ["tables"] }));
    expect(here.engine.memoryUsage().used).toBe(0);
    expect([...here.engine.events.drain()]).toEqual([]);
  });

  it("M-1.23, M-1.24, M-1.25: whichever allocation fails, ENOMEM, and nothing stays", () => {
    const { engine } = here;
    let failures = 0;
    for (let budget = 0; ; budget++) {
      engine.tableBudget = budget;
      try {
        engine.vm({ ipaBits: 40 }).dispose();
        break;
      } catch (error) {
        expect(error).toMatchObject({ code: "ENOMEM" });
        expect(engine.memoryUsage().used).toBe(0);
        failures++;
      }
      expect(budget).toBeLessThan(64);
    }
    expect(failures).toBeGreaterThanOrEqual(2); // the root alone is two pages
  });

  it.each(GRANULES)("M-1.26: a new VM has an empty root, no chunk, no VMID, %s", (granule) => {
    const vm = here.keep(here.engine.vm({ granule, ipaBits: 40 }));
    const { rootPages } = geometry({ granule, ipaBits: 40 });
    expect(vm.stage2.memoryUsage().tablePages).toBe(rootPages);
    expect(vm.stage2.counters()).toMatchObject({ leafCount: 0, invalid: 0, tables: 0 });
    expect(vm.eagerSplitChunk).toBe(0);
    expect(vm.memslots()).toEqual([]);
    raw().vm_describe(vm.pointer);
    expect(here.engine.context.result(3)).toBe(0n);
  });
});

describe.each(MODES)("the end of a VM (%s)", (mode) => {
  const here = lab(mode);
  const busy = (options: object = {}) => {
    const guest = new Guest(here, options);
    for (let i = 0; i < 8; i++) guest.write(IPA + i * guest.page);
    return guest;
  };

  it("M-1.30: release takes the page table away, once; then range operations find none", () => {
    const { vm } = busy();
    vm.release();
    const raw = here.engine.context.core as unknown as VmCore;
    expect(raw.vm_describe(vm.pointer)).toBe(0);
    expect(() => vm.release()).not.toThrow();
    expect(errorOf(() => vm.unmapRange({ ipa: IPA, size: 4096 })).code).toBe("EINVAL");
    expect(errorOf(() => vm.wrprotectRange({ ipa: IPA, size: 4096 })).code).toBe("EINVAL");
  });

  it("M-1.31: destroying sends no TLB invalidation and gives every table page back", () => {
    const guest = busy({ events: ["maintenance", "tables"] });
    guest.forget();
    const { tablePages } = guest.vm.stage2.memoryUsage();
    guest.vm.release();
    const events = [...here.engine.events.drain()];
    expect(events.filter(({ kind }) => kind.startsWith("tlbi"))).toEqual([]);
    const freed = events.reduce(
      (sum, event) =>
        sum + (event.kind === "free" ? 1 : event.kind === "freeExact" ? event.pages : 0),
      0,
    );
    expect(freed).toBe(tablePages);
    guest.vm.dispose();
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it("M-1.32: the end frees the split cache too; slots are not unmapped one by one", () => {
    const guest = new Guest(here, { size: 0, vmEvents: ["range"] });
    guest.vm.eagerSplitChunk = 2 ** 21;
    guest.facts.everywhere = { hostSize: 2 ** 21 };
    guest.vm.setMemslot({ slot: 0, ipa: IPA, size: 2 ** 22, hva: HVA });
    guest.write(IPA);
    guest.vm.setMemslot({ slot: 0, ipa: IPA, size: 2 ** 22, hva: HVA, flags: LOG });
    expect(guest.leaf(IPA)).toMatchObject({ size: 4096 });
    guest.forget();
    guest.vm.release();
    expect(guest.logged("unmap")).toEqual([]);
    guest.vm.dispose();
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it("M-1.33: without a page table notifiers say false and touch nothing", () => {
    const { vm, page } = busy();
    const range = { hva: HVA, size: 4 * page };
    expect(vm.testYoung(HVA)).toBe(true);
    vm.release();
    const { used } = here.engine.memoryUsage();
    expect(vm.clearFlushYoung(range)).toBe(false);
    expect(vm.clearYoung(range)).toBe(false);
    expect(vm.testYoung(HVA)).toBe(false);
    vm.invalidate(range, () => undefined);
    expect(vm.state).toMatchObject({ inProgress: 0, active: 0 });
    expect(here.engine.memoryUsage().used).toBe(used);
  });
});
