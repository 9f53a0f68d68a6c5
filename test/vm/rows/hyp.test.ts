/** Rows M-11.1 to 3: where a host's EL2 mappings are, and what the kernel maps for itself at EL2. */
import { describe, expect, it } from "vitest";
import { type Granule, HypMappings, Prot } from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import { IDMAP, LINEAR, PAGE, TOP_BIT, VMALLOC, hypLab, mapped } from "./hyp_support.ts";

describe.each(MODES)("layout of the hypervisor's addresses (%s)", (mode) => {
  const here = hypLab(mode);

  it.each([
    [39, 48, 48],
    [48, 48, 48],
    [52, 48, 52],
    [39, 52, 52],
    [48, 52, 52],
    [52, 52, 52],
  ] as const)("M-11.1: a kernel of %i bits and an idmap of %i: %i bits", (vaBits, bits, wide) => {
    for (const granule of ["4K", "16K", "64K"] as const) {
      const hyp = here.make({ vaBits, granule, idmap: { pa: IDMAP, bits } });
      expect([hyp.hypVaBits, hyp.table.vaBits, hyp.table.granule]).toEqual([wide, wide, granule]);
      const far = 2 ** bits - 2 ** 16;
      const top = here.make({ vaBits, granule, idmap: { pa: far, bits } });
      expect(top.table.getLeaf(far)).toMatchObject({ kind: "leaf", pa: far, prot: Prot.RX });
    }
  });

  it.each([
    ["4K", 2 ** 12],
    ["16K", 2 ** 14],
    ["64K", 2 ** 16],
  ] as const)("M-11.1: the idmap page maps to itself, RX (%s)", (granule: Granule, size) => {
    const hyp = here.make({ granule, idmap: { pa: IDMAP + 0x840 } });
    expect(hyp.idmap).toBe(IDMAP);
    const leaves = [...hyp.table.leaves()];
    expect(leaves).toMatchObject([{ va: IDMAP, size, pa: IDMAP, prot: Prot.RX, level: 3 }]);
  });

  it("M-11.1: an idmap page inside the hyp linear range is refused, and leaves nothing", () => {
    const linear = { va: LINEAR, pa: 0x8000_0000, size: 0x8000_0000 };
    // A region fixed elsewhere: the linear range is at [0, 2 GiB), where the idmap page is.
    const options = { idmap: { pa: IDMAP }, linear, region: 0 } as const;
    const make = (more = {}) => HypMappings.create(here.engine, { ...options, ...more });
    expect(errorOf(make)).toMatchObject({ code: "EINVAL", errno: 22 });
    expect(here.engine.memoryUsage().used).toBe(0);
    const last = { idmap: { pa: 0x8000_0000 - 1 } };
    expect(errorOf(() => make(last)).code).toBe("EINVAL");
    const beyond = here.keep(make({ idmap: { pa: 0x8000_0000 } }));
    expect(beyond.idmap).toBe(0x8000_0000);
  });

  it("M-11.1: identical is no intersection: the linear range has the page at its address too", () => {
    const linear = { va: LINEAR, pa: 0, size: 0x8000_0000 };
    const hyp = here.make({ linear, region: 0 });
    expect(hyp.toHypVa(LINEAR + BigInt(IDMAP))).toBe(BigInt(IDMAP));
    expect(hyp.table.getLeaf(IDMAP)).toMatchObject({ kind: "leaf", pa: IDMAP, prot: Prot.RX });
  });

  it.each([
    ["bits 48", { idmap: { pa: 2 ** 48 } }, "EINVAL"],
    ["bits 49", { idmap: { pa: IDMAP, bits: 49 } }, "BAD_OPTION"],
    ["address", { idmap: { pa: -1 } }, "BAD_ADDRESS"],
    ["nothing", { idmap: undefined }, "BAD_OPTION"],
    ["kernel", { vaBits: 53 }, "BAD_OPTION"],
    ["region", { region: 2 }, "BAD_OPTION"],
    ["vmalloc", { vmalloc: 5 }, "BAD_OPTION"],
    ["spelling", { idMap: 1 }, "BAD_OPTION"],
    ["vhe and pKVM", { vhe: true, protected: true }, "BAD_OPTION"],
    ["pKVM without a hypercall", { protected: true }, "BAD_OPTION"],
    ["a hypercall without pKVM", { hypercall: () => 0 }, "BAD_OPTION"],
    ["unaligned linear map", { linear: { va: LINEAR + 1n, pa: 0, size: PAGE } }, "EINVAL"],
    ["halves", { linear: { va: VMALLOC - 0x1000n, pa: 0, size: 2 * PAGE } }, "EINVAL"],
    ["end", { linear: { va: 2n ** 64n - 0x1000n, pa: 0, size: 2 * PAGE } }, "EINVAL"],
    ["no page at all", { cache: null }, "ENOMEM"],
  ])("M-11.1: what is no layout is refused at the door: %s", (_, options, code) => {
    const all = { idmap: { pa: IDMAP }, ...options } as never;
    expect(errorOf(() => HypMappings.create(here.engine, all)).code).toBe(code);
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it.each([
    [39, 0x8020_0000, 1],
    [39, 0x40_8020_0000, 0],
    [48, IDMAP, 1],
    [48, 0x8000_4020_0000, 0],
    [52, IDMAP, 1],
  ])("M-11.2: %i bits, idmap at %i: the low bits stay, the top bit is %i", (vaBits, pa, bit) => {
    const hyp = here.make({ vaBits, idmap: { pa } });
    const half = 2n ** BigInt(vaBits - 1);
    const first = 2n ** 64n - 2n * half;
    const region = BigInt(bit) * half;
    for (const low of [0n, 1n, 0x1234_5678n, half - 1n]) {
      expect(hyp.toHypVa(first + low)).toBe(region + low); // linear map
      expect(hyp.toHypVa(first + half + low)).toBe(region + low); // vmalloc: the bit is lost
    }
    expect(BigInt(hyp.idmap) & half).toBe(region === 0n ? half : 0n);
  });

  it("M-11.2: only kernel addresses, as bigints, have one", () => {
    const hyp = here.make();
    const none = [0n, -1n, LINEAR - 1n, 2n ** 64n, 0x1000, Number(LINEAR), undefined];
    for (const va of none) {
      expect(errorOf(() => hyp.toHypVa(va as bigint)).code, String(va)).toBe("BAD_ADDRESS");
    }
  });

  it("M-11.2: with VHE there is nothing to translate", () => {
    const hyp = here.make({ vhe: true });
    expect(hyp.toHypVa(LINEAR + 5n)).toBe(LINEAR + 5n);
    expect(errorOf(() => hyp.toHypVa(5n)).code).toBe("BAD_ADDRESS");
  });
});

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
    const pages = new Map([
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
