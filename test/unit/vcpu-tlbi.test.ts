/** TLB invalidation by vCPUs and by the engine: what goes, what stays, who sees it; what is refused. */
import { beforeEach, describe, expect, it } from "vitest";
import { TLBI_OP } from "../../src/_abi.ts";
import {
  Access,
  Engine,
  Prot,
  type Stage2,
  type TlbiOperation,
  type Vcpu,
  type VcpuOptions,
} from "../../src/index.ts";
import { MODES, SMALL, errorOf, lab } from "../support.ts";

const RAM = { pa: 0x8000_0000, size: 0x10000 };
const PAGE = 0x1000;
const OPERATIONS = Object.keys(TLBI_OP) as TlbiOperation[];
const WHOLE = ["VMALLE1", "VMALLS12E1", "ALLE1", "ASIDE1"];

describe.each(MODES)("TLB invalidation (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, guestRam: RAM });
  let s2: Stage2;
  let vcpu: Vcpu;
  const make = (options: VcpuOptions = {}) => {
    const made = here.keep(here.engine.vcpu(s2, options));
    made.setRegisters({
      ...{
        ttbr0El1: 0x4000_0000n,
        mairEl1: 0xffn,
        sctlrEl1: 1n,
        tcrEl1: 25n | (2n << 32n) | (1n << 23n),
      },
    });
    return made;
  };

  /** VA 0 .. 0x3fff -> IPA 0x5000_0000 + VA (page 3 not global) -> PA 0x9000_0000 + VA. */
  beforeEach(() => {
    s2 = here.keep(here.engine.stage2());
    s2.map({ ipa: 0x4000_0000, size: RAM.size, pa: RAM.pa, prot: Prot.RW });
    s2.map({ ipa: 0x5000_0000, size: 4 * PAGE, pa: 0x9000_0000, prot: Prot.RW });
    const { buffer, byteOffset } = here.engine.memoryMap.bytes(RAM.pa, RAM.size);
    const words = new BigUint64Array(buffer, byteOffset, RAM.size / 8);
    words[0] = 0x4000_1003n;
    words[512] = 0x4000_2003n;
    for (let i = 0; i < 4; i++) {
      words[1024 + i] = (0x5000_0000n + BigInt(i * PAGE)) | (3n << 8n) | (1n << 10n) | 3n;
    }
    words[1027]! |= 1n << 11n;
    vcpu = make();
  });

  /** Whether a translation is answered by the TLB. */
  function isCached(page: number, on = vcpu): boolean {
    const { hits } = on.statistics.tlb;
    expect(on.translate(page * PAGE, Access.Read)).toBe(0x9000_0000 + page * PAGE);
    return on.statistics.tlb.hits > hits;
  }
  function fill(on = vcpu): void {
    for (let page = 0; page < 4; page++) isCached(page, on);
    for (let page = 0; page < 4; page++) expect(isCached(page, on)).toBe(true);
  }

  /** Operation, request, and which of pages 0 to 3 (3: of ASID 0 alone) stay in the combined TLB. */
  const cases: [TlbiOperation, object, boolean[]][] = [
    ["VMALLE1", {}, [false, false, false, false]],
    ["VMALLS12E1", {}, [false, false, false, false]],
    ["ALLE1", {}, [false, false, false, false]],
    ["ASIDE1", { asid: 0 }, [true, true, true, false]],
    ["ASIDE1", { asid: 1 }, [true, true, true, true]],
    ["VAE1", { address: PAGE }, [true, false, true, true]],
    ["VAE1", { address: 3 * PAGE }, [true, true, true, false]],
    ["VAE1", { address: 3 * PAGE, asid: 1 }, [true, true, true, true]],
    ["VALE1", { address: 2 * PAGE + 8, level: 3 }, [true, true, false, true]],
    ["VAAE1", { address: 3 * PAGE }, [true, true, true, false]],
    ["VAALE1", { address: BigInt(PAGE) }, [true, false, true, true]],
    ["RVAE1", { address: PAGE, pages: 2 }, [true, false, false, true]],
    ["RVALE1", { address: 0, pages: 1 }, [false, true, true, true]],
    ["RVAAE1", { address: 2 * PAGE, pages: 2 }, [true, true, false, false]],
    ["RVAALE1", { address: 2 * PAGE, pages: 2 }, [true, true, false, false]],
    // By IPA: entries of stage 2 alone, which combined entries outlive.
    ["IPAS2E1", { address: 0x5000_1000 }, [true, true, true, true]],
    ["IPAS2LE1", { address: 0x5000_1000, level: 3 }, [true, true, true, true]],
    ["RIPAS2E1", { address: 0x5000_0000, pages: 4 }, [true, true, true, true]],
    ["RIPAS2LE1", { address: 0x5000_0000, pages: 4 }, [true, true, true, true]],
  ];
  it.each(cases)(
    "%s %o takes what it names, wherever it comes from",
    (operation, request, stay) => {
      const other = make();
      for (const issue of [
        () => vcpu.tlbi(operation, request),
        () => other.tlbi(operation, request),
        () => other.tlbi(operation, { ...request, local: true }), // the same thread
        () => here.engine.tlbi(operation, { ...request, vmid: s2.vmid }),
      ]) {
        fill();
        issue();
        expect(
          [0, 1, 2, 3].map((page) => isCached(page)),
          String(issue),
        ).toEqual(stay);
      }
    },
  );

  it("is covered with every operation that there is", () => {
    expect(new Set(cases.map(([operation]) => operation))).toEqual(new Set(OPERATIONS));
  });

  it("by IPA and then of all makes a changed page seen; by one of them alone it may not be", () => {
    const { engine } = here;
    const remap = (pa: number) => {
      const { steps } = make({ tlb: false }).trace(PAGE, Access.Read);
      const { pa: slot } = steps.at(-1)!;
      const entry = engine.memoryMap.bytes(slot, 8);
      new DataView(entry.buffer, entry.byteOffset).setUint32(0, pa | 0x7ff, true);
    };
    fill();
    remap(0xa000_0000);
    expect(vcpu.translate(PAGE, Access.Read)).toBe(0x9000_1000); // stale, as the architecture allows
    vcpu.tlbi("IPAS2E1", { address: 0x5000_1000 });
    expect(vcpu.translate(PAGE, Access.Read)).toBe(0x9000_1000);
    vcpu.tlbi("VMALLE1");
    expect(vcpu.translate(PAGE, Access.Read)).toBe(0xa000_0000);
    remap(0xb000_0000);
    vcpu.tlbi("VMALLE1"); // and not by IPA: stage 2's own entry stays
    expect(vcpu.translate(PAGE, Access.Read)).toBe(0xa000_0000);
    vcpu.tlbi("VMALLS12E1");
    expect(vcpu.translate(PAGE, Access.Read)).toBe(0xb000_0000);
  });

  it("is for its VMID alone", () => {
    fill();
    here.engine.tlbi("VMALLS12E1", { vmid: s2.vmid - 1 });
    expect([0, 1, 2, 3].map((page) => isCached(page))).toEqual([true, true, true, true]);
    here.engine.tlbi("ALLE1");
    expect(isCached(0)).toBe(false);
  });

  it("comes with the page table's own operations", () => {
    fill();
    s2.unmap({ ipa: 0x5000_1000, size: PAGE });
    expect(vcpu.translate(PAGE, Access.Read)).toMatchObject({
      type: "translation",
      stage: 2,
      fromTlb: false,
    });
  });

  it("is applied by enter and poll, which say how many there were", () => {
    fill();
    expect(vcpu.enter()).toBe(0);
    vcpu.tlbi("VAE1", { address: 0 });
    vcpu.tlbi("VAE1", { address: PAGE });
    expect(vcpu.poll()).toBe(2);
    expect(vcpu.poll()).toBe(0);
    expect(vcpu.exit()).toBeUndefined();
    vcpu.tlbi("VMALLE1");
    expect(vcpu.enter()).toBe(1);
    vcpu.exit();
    expect(vcpu.statistics.tlb.invalidations).toBeGreaterThan(0);
    const walking = make({ tlb: false });
    vcpu.tlbi("VMALLE1");
    expect([walking.enter(), walking.poll()]).toEqual([0, 0]); // has nothing to invalidate
    walking.exit();
  });

  it("that is local stays with its thread; broadcast reaches the others", async () => {
    if (mode === "single") return;
    const other = await Engine.attach(here.engine.handle);
    const theirs = other.vcpu(other.attachStage2(s2.handle));
    theirs.setRegisters(vcpu.registers);
    fill();
    fill(theirs);
    theirs.tlbi("VAE1", { address: PAGE, local: true });
    expect([isCached(1), isCached(1, theirs)]).toEqual([true, false]);
    theirs.tlbi("VAE1", { address: PAGE });
    expect([isCached(1), isCached(1, theirs)]).toEqual([false, false]);
    theirs.dispose();
    other.dispose();
  });

  it("is refused with operands that it does not take, or lacks", () => {
    fill();
    const { vmid } = s2;
    for (const operation of OPERATIONS) {
      const bad: object[] = [{ at: 0 }, { ipa: 0 }];
      const address = PAGE;
      const needs = WHOLE.includes(operation) ? {} : { address };
      const full = operation.startsWith("R") ? { ...needs, pages: 1 } : needs;
      if (WHOLE.includes(operation)) bad.push({ address }, { level: 3 });
      else
        bad.push(
          {},
          { ...full, address: undefined },
          { ...full, level: 4 },
          { ...full, level: -2 },
        );
      if (operation.startsWith("R")) {
        bad.push({ address }, ...[0, 2 ** 21 + 1, 1.5, "1"].map((pages) => ({ address, pages })));
      } else bad.push({ ...full, pages: 1 });
      if (/VAA|IPA|VMALL|ALLE1/.test(operation)) bad.push({ ...full, asid: 0 });
      else bad.push({ ...full, asid: 65536 }, { ...full, asid: -1 });
      for (const request of bad) {
        const what = `${operation} ${JSON.stringify(request)}`;
        expect(errorOf(() => vcpu.tlbi(operation, request)).code, what).toBe("BAD_OPTION");
        expect(errorOf(() => here.engine.tlbi(operation, { ...request, vmid })).code, what).toBe(
          "BAD_OPTION",
        );
      }
      expect(errorOf(() => vcpu.tlbi(operation, { ...full, vmid } as object)).code).toBe(
        "BAD_OPTION",
      );
      expect(errorOf(() => vcpu.tlbi(operation, { ...full, local: 1 as never })).code).toBe(
        "BAD_OPTION",
      );
      expect(
        errorOf(() => here.engine.tlbi(operation, { ...full, local: true, vmid } as object)).code,
      ).toBe("BAD_OPTION");
      if (operation !== "ALLE1") {
        expect(errorOf(() => here.engine.tlbi(operation, full)).code, operation).toBe("BAD_OPTION");
      }
      expect(errorOf(() => here.engine.tlbi(operation, { ...full, vmid: 65536 })).code).toBe(
        "BAD_OPTION",
      );
    }
    for (const name of ["VAE2", "IPAS2E1IS", "", 5, undefined]) {
      expect(errorOf(() => vcpu.tlbi(name as never)).code).toBe("BAD_OPTION");
    }
    expect(errorOf(() => vcpu.tlbi("VAE1", { address: 2n ** 64n })).code).toBe("BAD_ADDRESS");
    expect(errorOf(() => vcpu.tlbi("VAE1", null as never)).code).toBe("BAD_OPTION");
    expect([0, 1, 2, 3].map((page) => isCached(page))).toEqual([true, true, true, true]);
  });
});
