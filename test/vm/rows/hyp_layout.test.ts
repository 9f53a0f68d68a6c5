/** Rows M-11.1 and 2: how wide a hypervisor's addresses are, where the idmap page and the kernel's addresses are in them. */
import { describe, expect, it } from "vitest";
import { type Granule, HypMappings, Prot } from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import { IDMAP, LINEAR, PAGE, VMALLOC, hypLab } from "./hyp_support.ts";

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
