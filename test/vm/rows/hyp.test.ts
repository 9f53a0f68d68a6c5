/** Row M-11.3: what the kernel maps at EL2 at its own addresses. */
import { describe, expect, it } from "vitest";
import { type Address, Prot } from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import { LINEAR, PAGE, TOP_BIT, VMALLOC, hypLab, mapped } from "./hyp_support.ts";

describe.each(MODES)("create_hyp_mappings (%s)", (mode) => {
  const here = hypLab(mode);
  const BLOCK = 2 ** 21;

  it("M-11.3: maps page by page, where blocks would do", () => {
    const hyp = here.make();
    const from = LINEAR + 0x8000_0000n;
    hyp.createMappings(from, from + BigInt(BLOCK), Prot.RW);
    const leaves = mapped(hyp);
    expect(leaves).toHaveLength(512);
    leaves.forEach((leaf, i) => {
      const pa = 0x8000_0000 + i * PAGE;
      expect(leaf).toEqual({ va: TOP_BIT + pa, size: PAGE, pa, prot: Prot.RW });
    });
  });

  it("M-11.3: bytes are widened to pages, of the linear map's physical addresses", () => {
    const hyp = here.make({ linear: { va: LINEAR, pa: 0x9000_0000, size: 0x1000_0000 } });
    hyp.createMappings(LINEAR + 0x1fffn, LINEAR + 0x2001n, Prot.R);
    expect(mapped(hyp)).toEqual([
      { va: TOP_BIT + 0x1000, size: PAGE, pa: 0x9000_1000, prot: Prot.R },
      { va: TOP_BIT + 0x2000, size: PAGE, pa: 0x9000_2000, prot: Prot.R },
    ]);
    const edge = LINEAR + 0x1000_0000n;
    hyp.createMappings(edge - 1n, edge, Prot.R);
    expect(errorOf(() => hyp.createMappings(edge - 1n, edge + 1n, Prot.R)).code).toBe("EINVAL");
    expect(mapped(hyp)).toHaveLength(3);
  });

  it("M-11.3: a mapped page stays what it is: the same again is nothing, another one EINVAL", () => {
    const hyp = here.make({ vmalloc: (va) => Number(va - VMALLOC) + 0x7000_0000 });
    const [from, to] = [LINEAR + 0x2000n, LINEAR + 0x4000n];
    hyp.createMappings(from, to, Prot.RW);
    const before = mapped(hyp);
    hyp.createMappings(from, to, Prot.RW);
    expect(errorOf(() => hyp.createMappings(from, to, Prot.R)).code).toBe("EINVAL");
    // The same low bits in vmalloc: another page for the same hypervisor address.
    const alias = VMALLOC + 0x2000n;
    expect(errorOf(() => hyp.createMappings(alias, alias + 1n, Prot.RW)).code).toBe("EINVAL");
    expect(mapped(hyp)).toEqual(before);
    expect(errorOf(() => hyp.createMappings(from - 0x1000n, to, Prot.R)).code).toBe("EINVAL");
    expect(mapped(hyp)).toHaveLength(3); // what lies before the refused page is mapped
  });

  it("M-11.3: vmalloc pages are looked up one by one, all of them before the first is mapped", () => {
    const pages = new Map<bigint, Address>([
      [VMALLOC, 0x5_0000_3000],
      [VMALLOC + 0x1000n, 0x5_0000_1000n],
    ]);
    const hyp = here.make({ vmalloc: (va) => pages.get(va) });
    const hole = VMALLOC + 0x2001n;
    expect(errorOf(() => hyp.createMappings(VMALLOC, hole, Prot.RW)).code).toBe("EFAULT");
    expect(mapped(hyp)).toEqual([]);
    hyp.createMappings(VMALLOC, VMALLOC + 0x2000n, Prot.RW);
    expect(mapped(hyp).map(({ va, pa }) => [va - TOP_BIT, pa])).toEqual([
      [0, 0x5_0000_3000],
      [PAGE, 0x5_0000_1000],
    ]);
    pages.set(VMALLOC + 0x2000n, 0x5_0000_1800);
    expect(errorOf(() => hyp.createMappings(VMALLOC, hole, Prot.RW)).code).toBe("EINVAL");
    const none = here.make();
    expect(errorOf(() => none.createMappings(VMALLOC, hole, Prot.RW)).code).toBe("EFAULT");
  });

  it("M-11.3: what is no range of the kernel's, or no protection, is refused", () => {
    const hyp = here.make();
    const code = (from: unknown, to: unknown, prot: number = Prot.RW) =>
      errorOf(() => hyp.createMappings(from as bigint, to as bigint, prot)).code;
    expect(code(LINEAR, LINEAR)).toBe("BAD_SIZE");
    expect(code(LINEAR + 2n, LINEAR + 1n)).toBe("BAD_SIZE");
    expect(code(0x1000n, 0x2000n)).toBe("BAD_ADDRESS");
    expect(code(0x1000, 0x2000)).toBe("BAD_ADDRESS");
    expect(code(VMALLOC, 2n ** 64n + 1n)).toBe("BAD_ADDRESS");
    expect(code(VMALLOC - 1n, VMALLOC + 1n)).toBe("EINVAL");
    expect(code(LINEAR, LINEAR + 1n, Prot.RWX)).toBe("EINVAL");
    expect(code(LINEAR, LINEAR + 1n, 1 << 20)).toBe("BAD_PROT");
    expect(mapped(hyp)).toEqual([]);
  });

  it("M-11.3: a linear map in the upper half, vmalloc in the lower one, as older kernels have it", () => {
    const linear = { va: VMALLOC, pa: 0x9000_0000, size: 2 * PAGE };
    const hyp = here.make({ linear, vmalloc: () => 0x7000_0000 });
    const both = () => hyp.createMappings(VMALLOC - 1n, VMALLOC + 1n, Prot.RW);
    expect(errorOf(both).code).toBe("EINVAL");
    expect(mapped(hyp)).toEqual([]);
    hyp.createMappings(VMALLOC, VMALLOC + 1n, Prot.RW);
    hyp.createMappings(VMALLOC - 1n, VMALLOC, Prot.RW);
    expect(mapped(hyp).map(({ va, pa }) => [va - TOP_BIT, pa])).toEqual([
      [0, 0x9000_0000],
      [TOP_BIT - PAGE, 0x7000_0000],
    ]);
  });

  it("M-11.3: the last page of the address space can be mapped", () => {
    const hyp = here.make({ vmalloc: () => 0x7000_0000 });
    hyp.createMappings(2n ** 64n - 1n, 2n ** 64n, Prot.RW);
    expect(mapped(hyp)).toMatchObject([{ va: 2 ** 48 - PAGE, pa: 0x7000_0000 }]);
  });

  it("M-11.3: nothing happens with VHE, but bad input is refused there too", () => {
    const hyp = here.make({ vhe: true });
    hyp.createMappings(LINEAR, LINEAR + 0x1000n, Prot.RW);
    expect(here.engine.memoryUsage().used).toBe(0);
    expect(errorOf(() => hyp.table).code).toBe("EPERM");
    expect(errorOf(() => hyp.createMappings(1n, 2n, Prot.RW)).code).toBe("BAD_ADDRESS");
  });

  it("M-11.3: EPERM once pKVM owns the tables, not before", () => {
    const hyp = here.make({ protected: true, hypercall: () => 0 });
    hyp.createMappings(LINEAR, LINEAR + 0x1000n, Prot.RW);
    hyp.handOver();
    const before = mapped(hyp);
    expect(before).toHaveLength(1);
    const more = () => hyp.createMappings(LINEAR + 0x1000n, LINEAR + 0x2000n, Prot.RW);
    expect(errorOf(more)).toMatchObject({ code: "EPERM", errno: 1 });
    expect(mapped(hyp)).toEqual(before);
    expect(errorOf(() => here.make().handOver()).code).toBe("EINVAL");
  });

  it("M-11.3: tables come out of the cache; when it is empty, what lies before is mapped", () => {
    const cache = here.keep(here.engine.cache());
    cache.topup(3 + 3); // the idmap page takes three, another part of the space three
    const hyp = here.make({ cache });
    const from = LINEAR + BigInt(BLOCK - PAGE);
    expect(errorOf(() => hyp.createMappings(from, from + 0x2000n, Prot.RW)).code).toBe("ENOMEM");
    expect(mapped(hyp)).toHaveLength(1);
    cache.topup(1);
    hyp.createMappings(from, from + 0x2000n, Prot.RW);
    expect(mapped(hyp)).toHaveLength(2);
  });

  it("M-11.3: a disposed object, or one of a disposed engine, refuses", () => {
    for (const options of [{}, { vhe: true }]) {
      const hyp = here.make(options);
      hyp.dispose();
      hyp.dispose();
      const map = () => hyp.createMappings(LINEAR, LINEAR + 1n, Prot.RW);
      expect(errorOf(map).code).toBe("DISPOSED");
      expect(errorOf(() => hyp.share(LINEAR, LINEAR + 1n)).code).toBe("DISPOSED");
    }
  });
});
