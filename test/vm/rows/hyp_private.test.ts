/** Rows M-11.4 to 6: addresses that only the hypervisor has, and what is mapped there. */
import { describe, expect, it } from "vitest";
import { Prot } from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import { IDMAP, LINEAR, PAGE, TOP_BIT, hypLab, mapped } from "./hyp_support.ts";

describe.each(MODES)("private addresses of the hypervisor (%s)", (mode) => {
  const here = hypLab(mode);

  it("M-11.4: ranges are handed out downwards from the idmap page, in pages", () => {
    const hyp = here.make();
    expect(hyp.lowestPrivate).toBe(IDMAP);
    expect(hyp.allocatePrivate(1)).toBe(IDMAP - PAGE);
    expect(hyp.allocatePrivate(PAGE)).toBe(IDMAP - 2 * PAGE);
    expect(hyp.allocatePrivate(PAGE + 1)).toBe(IDMAP - 4 * PAGE);
    expect(hyp.allocatePrivate(0x10_0000n)).toBe(IDMAP - 4 * PAGE - 0x10_0000);
    expect(hyp.lowestPrivate).toBe(IDMAP - 4 * PAGE - 0x10_0000);
    expect(mapped(hyp)).toEqual([]); // they are addresses, no more
  });

  it.each([
    ["16K", 2 ** 14],
    ["64K", 2 ** 16],
  ] as const)("M-11.4: a page is the table's page (%s)", (granule, size) => {
    const hyp = here.make({ granule });
    expect(hyp.allocatePrivate(PAGE)).toBe(IDMAP - size);
    expect(errorOf(() => hyp.allocatePrivateFrom(IDMAP - size - PAGE)).code).toBe("EINVAL");
  });

  it.each([
    [39, 48, 0x41_0000_0000, 0x40_0000_0000],
    [39, 48, 0x21_0000_0000, 0],
    [48, 48, 0x8000_0010_0000, TOP_BIT],
    [48, 48, 0x10_0000, 0],
    [48, 52, 2 ** 51 + 0x10_0000, 2 ** 51],
  ] as const)("M-11.4: ENOMEM across bit VA_BITS-1 (%i, %i, %i)", (vaBits, bits, pa, floor) => {
    const hyp = here.make({ vaBits, idmap: { pa, bits } });
    const tooMuch = [pa - floor + 1, 2 ** vaBits, 2 ** 53]; // also when the bit is the same again
    for (const size of tooMuch) {
      expect(errorOf(() => hyp.allocatePrivate(size))).toMatchObject({ code: "ENOMEM", errno: 12 });
    }
    expect(hyp.lowestPrivate).toBe(pa);
    expect(hyp.allocatePrivate(pa - floor)).toBe(floor); // all there is
    expect(errorOf(() => hyp.allocatePrivate(1)).code).toBe("ENOMEM");
    expect(errorOf(() => hyp.createStack({ pa: 0 })).code).toBe("ENOMEM");
    expect(errorOf(() => hyp.ioMapping({ pa: 0, size: 1 })).code).toBe("ENOMEM");
    expect(hyp.lowestPrivate).toBe(floor);
    expect(mapped(hyp)).toEqual([]);
  });

  it("M-11.4: a base is on a page, and below what was handed out", () => {
    const hyp = here.make();
    for (const base of [IDMAP - 1, IDMAP - PAGE + 8, IDMAP - 0x800]) {
      const error = errorOf(() => hyp.allocatePrivateFrom(base));
      expect(error, `${base}`).toMatchObject({ code: "EINVAL", errno: 22 });
    }
    expect(hyp.allocatePrivateFrom(IDMAP - 8 * PAGE)).toBe(IDMAP - 8 * PAGE);
    for (const base of [IDMAP, IDMAP - PAGE, IDMAP - 8 * PAGE]) {
      expect(errorOf(() => hyp.allocatePrivateFrom(base)).code, `${base}`).toBe("EINVAL");
    }
    expect(errorOf(() => hyp.allocatePrivateFrom(-PAGE)).code).toBe("BAD_ADDRESS");
    expect(errorOf(() => hyp.allocatePrivate(0)).code).toBe("BAD_SIZE");
    expect(hyp.lowestPrivate).toBe(IDMAP - 8 * PAGE);
  });

  it("M-11.4: with the region fixed elsewhere, they end at the linear range", () => {
    const size = 0x1000_0000;
    const hyp = here.make({ region: 0, linear: { va: LINEAR, pa: 0, size } });
    expect(errorOf(() => hyp.allocatePrivateFrom(size - PAGE)).code).toBe("ENOMEM");
    expect(hyp.allocatePrivateFrom(size)).toBe(size);
  });

  it("M-11.5: a stack is the upper page of an aligned window of two, the lower one a guard", () => {
    const hyp = here.make();
    const [one, other] = [
      hyp.createStack({ pa: 0x9000_0000 }),
      hyp.createStack({ pa: 0xa000n * 16n }),
    ];
    expect(one).toEqual({ guard: IDMAP - 2 * PAGE, page: IDMAP - PAGE, top: IDMAP });
    expect(other.top).toBe(one.guard);
    hyp.allocatePrivate(1); // the next window would begin on an odd page
    const third = hyp.createStack({ pa: 0x9000_1000 });
    expect(third.guard).toBe(IDMAP - 8 * PAGE);
    expect(third.guard % (2 * PAGE)).toBe(0);
    for (const { guard, page } of [one, other, third]) {
      expect(hyp.table.getLeaf(guard).kind).toBe("empty");
      expect(hyp.table.getLeaf(page)).toMatchObject({ kind: "leaf", prot: Prot.RW });
    }
    expect(mapped(hyp).map(({ pa }) => pa)).toEqual([0x9000_1000, 0xa_0000, 0x9000_0000]);
    expect(errorOf(() => hyp.createStack({ pa: 0x9000_0800 })).code).toBe("EINVAL");
    expect(errorOf(() => hyp.createStack(undefined as never)).code).toBe("BAD_OPTION");
    expect(hyp.lowestPrivate).toBe(third.guard);
  });

  it("M-11.5: the window is of the table's pages", () => {
    const size = 2 ** 16;
    const hyp = here.make({ granule: "64K", idmap: { pa: IDMAP + size } }); // an odd page
    const { guard, page, top } = hyp.createStack({ pa: 0x9000_0000 });
    expect([guard, page, top]).toEqual([IDMAP - 2 * size, IDMAP - size, IDMAP]);
    expect(mapped(hyp)).toEqual([{ va: page, size, pa: 0x9000_0000, prot: Prot.RW }]);
  });

  it("M-11.6: devices are DEVICE and RW, code is RX, at the offset in the page", () => {
    const hyp = here.make();
    const io = hyp.ioMapping({ pa: 0x800_0f80, size: 0x100 }); // two pages
    const code = hyp.execMapping({ pa: 0x9000_0000, size: 0x800 });
    expect([io, code]).toEqual([IDMAP - 2 * PAGE + 0xf80, IDMAP - 3 * PAGE]);
    expect(mapped(hyp)).toEqual([
      { va: code, size: PAGE, pa: 0x9000_0000, prot: Prot.RX },
      { va: io - 0xf80, size: PAGE, pa: 0x800_0000, prot: Prot.RW | Prot.DEVICE },
      { va: io - 0xf80 + PAGE, size: PAGE, pa: 0x800_1000, prot: Prot.RW | Prot.DEVICE },
    ]);
    for (const bad of [{ pa: -1, size: 1 }, { pa: 0, size: 0 }, undefined]) {
      expect(errorOf(() => hyp.ioMapping(bad as never)).code).toMatch(/^BAD_/);
      expect(errorOf(() => hyp.execMapping(bad as never)).code).toMatch(/^BAD_/);
    }
    expect(hyp.lowestPrivate).toBe(code);
  });

  it("M-11.6: EPERM for devices in protected mode from the start, for all else once pKVM owns the tables", () => {
    const hyp = here.make({ protected: true, hypercall: () => 0 });
    const io = () => hyp.ioMapping({ pa: 0x800_0000, size: PAGE });
    expect(errorOf(io)).toMatchObject({ code: "EPERM", errno: 1 });
    expect(hyp.lowestPrivate).toBe(IDMAP);
    hyp.execMapping({ pa: 0x9000_0000, size: PAGE });
    hyp.createStack({ pa: 0x9000_1000 });
    const { lowestPrivate } = hyp;
    hyp.handOver();
    const later = [
      io,
      () => hyp.execMapping({ pa: 0x9000_0000, size: PAGE }),
      () => hyp.createStack({ pa: 0x9000_1000 }),
      () => hyp.allocatePrivate(PAGE),
      () => hyp.allocatePrivateFrom(0),
    ];
    expect(later.map((call) => errorOf(call).code)).toEqual(later.map(() => "EPERM"));
    expect(hyp.lowestPrivate).toBe(lowestPrivate);
    expect(mapped(hyp)).toHaveLength(2);
  });

  it("M-11.6: with VHE there is no table to map into", () => {
    const hyp = here.make({ vhe: true });
    expect(errorOf(() => hyp.ioMapping({ pa: 0x800_0000, size: PAGE })).code).toBe("EPERM");
    expect(errorOf(() => hyp.execMapping({ pa: 0x800_0000, size: PAGE })).code).toBe("EPERM");
    expect(errorOf(() => hyp.createStack({ pa: 0 })).code).toBe("EPERM");
    expect(errorOf(() => hyp.allocatePrivate(PAGE)).code).toBe("EPERM");
  });

  it("M-11.6: what the table refuses at these addresses, it refuses: RWX, RX of a device, no R", () => {
    const { table } = here.make();
    for (const prot of [Prot.RWX, Prot.RX | Prot.DEVICE, Prot.W, 0]) {
      const request = { va: IDMAP - PAGE, size: PAGE, pa: 0x800_0000, prot };
      expect(errorOf(() => table.map(request)).code, `${prot}`).toBe("EINVAL");
    }
    expect([...table.leaves()]).toHaveLength(1);
  });
});
