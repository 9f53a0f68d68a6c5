/** Loads, stores, fetches, atomics, exclusives: values, sizes, addresses, faults, and what is refused. */
import { beforeEach, describe, expect, it } from "vitest";
import { Fault, Prot, type Stage2, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES, SMALL, errorOf, lab } from "../support.ts";

const RAM = { pa: 0x8000_0000, size: 0x10000 };
/** Stage 1 off would make all memory Device, which takes no unaligned access: default cacheable (HCR_EL2.DC). */
const HCR_DC = 1n << 12n;

describe.each(MODES)("accesses (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, guestRam: RAM });
  let s2: Stage2;
  let vcpu: Vcpu;
  const bytes = (at: number, length: number) => [
    ...here.engine.memoryMap.bytes(RAM.pa + at, length),
  ];
  const make = (options: VcpuOptions = {}): Vcpu => {
    const made = here.keep(here.engine.vcpu(s2, options));
    made.setRegisters({ hcrEl2: made.registers.hcrEl2 | HCR_DC });
    return made;
  };

  /** Pages: 0 and 1 RW but not adjoining in memory, 2 R, 3 none, 4 RX, 5 W-only is not to be had, 6 no memory behind. */
  beforeEach(() => {
    s2 = here.keep(here.engine.stage2());
    s2.map({ ipa: 0, size: 0x1000, pa: RAM.pa, prot: Prot.RW });
    s2.map({ ipa: 0x1000, size: 0x1000, pa: RAM.pa + 0x3000, prot: Prot.RW });
    s2.map({ ipa: 0x2000, size: 0x1000, pa: RAM.pa + 0x1000, prot: Prot.R });
    s2.map({ ipa: 0x4000, size: 0x1000, pa: RAM.pa + 0x2000, prot: Prot.RX });
    s2.map({ ipa: 0x6000, size: 0x1000, pa: 0x9000_0000, prot: Prot.RWX });
    vcpu = make();
  });

  it("store and load each size, little-endian and unsigned", () => {
    expect(vcpu.write64(0x100, 0x8182_8384_8586_8788n)).toBeUndefined();
    expect(bytes(0x100, 8)).toEqual([0x88, 0x87, 0x86, 0x85, 0x84, 0x83, 0x82, 0x81]);
    expect(vcpu.read8(0x100)).toBe(0x88);
    expect(vcpu.read16(0x100)).toBe(0x8788);
    expect(vcpu.read32(0x100)).toBe(0x8586_8788);
    expect(vcpu.read64(0x100)).toBe(0x8182_8384_8586_8788n);
    vcpu.write8(0x108, 0x1);
    vcpu.write16(0x10a, 0x302);
    vcpu.write32(0x10c, 0x0706_0504);
    expect(bytes(0x108, 8)).toEqual([1, 0, 2, 3, 4, 5, 6, 7]);
    expect(vcpu.readPair(0x100)).toEqual([0x8182_8384_8586_8788n, 0x0706_0504_0302_0001n]);
    expect(vcpu.writePair(0x110, [1n, -2n])).toBeUndefined();
    expect(vcpu.readPair(0x110)).toEqual([1n, 2n ** 64n - 2n]);
  });

  it("store values that fit, negative ones as their bits", () => {
    vcpu.write8(0, -1);
    vcpu.write16(2, -2);
    vcpu.write32(4, -3);
    vcpu.write64(8, -4n);
    expect([vcpu.read8(0), vcpu.read16(2), vcpu.read32(4)]).toEqual([0xff, 0xfffe, 0xffff_fffd]);
    expect(vcpu.read64(8)).toBe(2n ** 64n - 4n);
    vcpu.write8(0, -1, { unprivileged: true });
    vcpu.write32(4, 0xffff_ffff, {});
    expect([vcpu.read8(0), vcpu.read32(4)]).toEqual([0xff, 0xffff_ffff]);
    const before = bytes(0, 16);
    const bad: (() => unknown)[] = [
      ...[256, -129, 1.5, NaN, "1", 1n, undefined].map(
        (value) => () => vcpu.write8(0, value as never),
      ),
      ...[65536, -32769].map((value) => () => vcpu.write16(0, value)),
      ...[2 ** 32, -(2 ** 31) - 1, Infinity].map((value) => () => vcpu.write32(0, value)),
      ...[2n ** 64n, -(2n ** 63n) - 1n, 5].map((value) => () => vcpu.write64(0, value as never)),
      () => vcpu.writePair(0, [1n, 2n ** 64n]),
      () => vcpu.writePair(0, [1n] as never),
      () => vcpu.read8(0, { privileged: true } as object),
      () => vcpu.read8(0, { unprivileged: 1 as never }),
      () => vcpu.write8(0, 0, null as never),
    ];
    for (const call of bad) expect(errorOf(call).code, String(call)).toBe("BAD_OPTION");
    expect(bytes(0, 16)).toEqual(before);
  });

  it("take addresses as numbers and as bigints", () => {
    vcpu.write32(0x40, 77);
    for (const va of [0x40, 0x40n]) expect(vcpu.read32(va)).toBe(77);
    const far = (va: number | bigint) => (vcpu.read32(va) as Fault).far;
    expect(far(-4)).toBe(2n ** 64n - 4n);
    expect(far(-4n)).toBe(2n ** 64n - 4n);
    expect(far(2n ** 64n - 4n)).toBe(2n ** 64n - 4n);
    expect(far(-(2 ** 53))).toBe(2n ** 64n - 2n ** 53n);
    expect(far(2 ** 53)).toBe(2n ** 53n);
    expect(far(2n ** 63n)).toBe(2n ** 63n);
    expect(far(0x0123_4567_89ab_cdecn)).toBe(0x0123_4567_89ab_cdecn);
    for (const write of [
      (va: bigint) => vcpu.write32(va, 1),
      (va: bigint) => vcpu.write64(va, 1n),
    ]) {
      expect(write(0x7fff_ffff_ffff_fff8n)).toMatchObject({
        far: 0x7fff_ffff_ffff_fff8n,
        write: true,
      });
    }
    const bad = [
      2 ** 53 + 2,
      -(2 ** 53) - 2,
      0.5,
      NaN,
      Infinity,
      2n ** 64n,
      -(2n ** 63n) - 1n,
      "0",
      null,
    ];
    for (const va of bad) {
      const calls: (() => unknown)[] = [
        () => vcpu.read32(va as never),
        () => vcpu.read64(va as never),
        () => vcpu.write16(va as never, 1),
        () => vcpu.fetch(va as never),
        () => vcpu.atomic("add", va as never, 8, 1n),
        () => vcpu.loadExclusive(va as never, 8),
        () => vcpu.translate(va as never, 1),
        () => vcpu.probe(va as never, 1),
        () => vcpu.at("S1E1R", va as never),
      ];
      for (const call of calls) expect(errorOf(call).code, String(va)).toBe("BAD_ADDRESS");
    }
    expect(vcpu.statistics.faults).toBe(9);
  });

  it("that fault say so and change nothing", () => {
    const none = vcpu.read32(0x3000);
    expect(none).toMatchObject({ type: "translation", level: 3, write: false, ipa: 0x3000, el: 2 });
    expect(vcpu.write16(0x2010, 1)).toMatchObject({ type: "permission", level: 3, write: true });
    expect(vcpu.write64(0x2010, 1n)).toMatchObject({ type: "permission", ipa: 0x2010 });
    expect(vcpu.writePair(0x2010, [1n, 1n])).toMatchObject({ type: "permission" });
    expect(vcpu.readPair(0x3000)).toMatchObject({ type: "translation" });
    expect(vcpu.fetch(0x0)).toMatchObject({ type: "permission", fetch: true, write: false });
    expect(vcpu.atomic("set", 0x2010, 4, 1n)).toMatchObject({ type: "permission", write: true });
    expect(vcpu.compareAndSwap(0x2010, 4, 1n, 1n)).toMatchObject({ type: "permission" });
    expect(vcpu.loadExclusive(0x3000, 4)).toMatchObject({ type: "translation" });
    expect(vcpu.storeExclusive(0x3000, 4, 1n)).toMatchObject({ type: "translation", write: true });
    expect(bytes(0x1010, 16)).toEqual(Array.from({ length: 16 }, () => 0));
    expect(vcpu.read32(0x6000)).toMatchObject({ type: "externalAbort", stage: 1, el: 1 });
    expect(vcpu.fetch(0x6000)).toMatchObject({ type: "externalAbort", fetch: true });
  });

  it("may be unaligned, and may cross into a page that lies elsewhere", () => {
    vcpu.write64(0xffc, 0x1122_3344_5566_7788n);
    expect(bytes(0xffc, 4)).toEqual([0x88, 0x77, 0x66, 0x55]);
    expect(bytes(0x3000, 4)).toEqual([0x44, 0x33, 0x22, 0x11]);
    expect(vcpu.read64(0xffc)).toBe(0x1122_3344_5566_7788n);
    expect(vcpu.read32(0xffe)).toBe(0x3344_5566);
    expect(vcpu.read16(0xfff)).toBe(0x4455);
    // Into a page that may not be written: nothing moves.
    expect(vcpu.write32(0x1ffe, 0xffff_ffff)).toMatchObject({ type: "permission", far: 0x2000n });
    expect(bytes(0x3ffe, 2)).toEqual([0, 0]);
    expect(vcpu.read64(0x2ffc)).toMatchObject({ type: "translation", far: 0x3000n });
  });

  it("fetch instructions, at multiples of 4", () => {
    here.engine.memoryMap
      .bytes(RAM.pa + 0x2000, 8)
      .set([0x1f, 0x20, 0x03, 0xd5, 0xc0, 3, 0x5f, 0xd6]);
    expect(vcpu.fetch(0x4000)).toBe(0xd503_201f);
    expect(vcpu.fetch(0x4004n)).toBe(0xd65f_03c0);
    for (const va of [0x4001, 0x4002n, -1, 2n ** 63n + 1n]) {
      expect(errorOf(() => vcpu.fetch(va)).code).toBe("BAD_ADDRESS");
    }
  });

  it("modify atomically, and give the old value", () => {
    const cases: [Parameters<Vcpu["atomic"]>[0], bigint, bigint, bigint][] = [
      ["add", 0xffn, 2n, 0x01n],
      ["clr", 0xf5n, 0x71n, 0x84n],
      ["eor", 0xf0n, 0xffn, 0x0fn],
      ["set", 0x81n, 0x42n, 0xc3n],
      ["swp", 0x12n, 0x34n, 0x34n],
      ["add", 5n, -1n, 4n],
    ];
    for (const [operation, old, operand, result] of cases) {
      for (const size of [1, 2, 4, 8] as const) {
        vcpu.write64(0x200, 0x5a5a_5a5a_5a5a_5a00n | old);
        const before = (0x5a5a_5a5a_5a5a_5a00n | old) & ((1n << BigInt(size * 8)) - 1n);
        expect(vcpu.atomic(operation, 0x200, size, operand), `${operation} ${size}`).toBe(before);
        expect((vcpu.read64(0x200) as bigint) & 0xffn).toBe(result);
        if (size < 8) expect((vcpu.read64(0x200) as bigint) >> 56n).toBe(0x5an);
      }
    }
    vcpu.write64(0x200, 10n);
    expect(vcpu.compareAndSwap(0x200, 8, 11n, 5n)).toBe(10n);
    expect(vcpu.read64(0x200)).toBe(10n);
    expect(vcpu.compareAndSwap(0x200, 8, 10n, -1n)).toBe(10n);
    expect(vcpu.read64(0x200)).toBe(2n ** 64n - 1n);
    expect(vcpu.compareAndSwap(0x200, 2, -1n, 0n)).toBe(0xffffn);
    expect(vcpu.read64(0x200)).toBe(0xffff_ffff_ffff_0000n);
  });

  it("that are atomic or exclusive must be aligned", () => {
    const unaligned = { type: "alignment", level: undefined, stage: 1, el: 1 };
    expect(vcpu.atomic("add", 0x201, 2, 1n)).toMatchObject(unaligned);
    expect(vcpu.compareAndSwap(0x204, 8, 0n, 1n)).toMatchObject(unaligned);
    expect(vcpu.loadExclusive(0x202, 4)).toMatchObject(unaligned);
    expect(vcpu.storeExclusive(0x202, 4, 1n)).toMatchObject({ ...unaligned, write: true });
  });

  it("that are atomic or exclusive have a size, an operation and a value that fits", () => {
    const bad: (() => unknown)[] = [
      () => vcpu.atomic("min" as never, 0, 4, 1n),
      () => vcpu.atomic("add", 0, 3 as never, 1n),
      () => vcpu.atomic("add", 0, 16 as never, 1n),
      () => vcpu.atomic("add", 0, 4, 2n ** 32n),
      () => vcpu.atomic("add", 0, 4, -(2n ** 31n) - 1n),
      () => vcpu.atomic("add", 0, 4, 1 as never),
      () => vcpu.compareAndSwap(0, 1, 256n, 0n),
      () => vcpu.compareAndSwap(0, 1, 0n, 256n),
      () => vcpu.compareAndSwap(0, 0 as never, 0n, 0n),
      () => vcpu.loadExclusive(0, "4" as never),
      () => vcpu.storeExclusive(0, 8, 2n ** 64n),
      () => vcpu.storeExclusive(0, 5 as never, 0n),
    ];
    for (const call of bad) expect(errorOf(call).code, String(call)).toBe("BAD_OPTION");
    expect(bytes(0, 8)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it("are exclusive: one store for one load", () => {
    for (const size of [1, 2, 4, 8] as const) {
      vcpu.write64(0x300, 0xa5n);
      expect(vcpu.loadExclusive(0x300, size)).toBe(0xa5n);
      expect(vcpu.storeExclusive(0x300, size, 7n)).toBe(true);
      expect(vcpu.storeExclusive(0x300, size, 8n)).toBe(false);
      expect(vcpu.read64(0x300)).toBe(7n);
    }
  });

  it("are exclusive: others' stores, other places, CLREX and exceptions make them fail", () => {
    const other = make();
    const spoil: [string, () => unknown, boolean][] = [
      ["nothing", () => undefined, true],
      ["another's store", () => other.write64(0x300, 1n), false],
      ["another's atomic", () => other.atomic("eor", 0x300, 8, 1n), false],
      ["CLREX", () => vcpu.clearExclusive(), false],
      ["an exception", () => (vcpu.el = 1), false],
      ["a load elsewhere", () => vcpu.loadExclusive(0x340, 8), false],
      ["another size", () => vcpu.loadExclusive(0x300, 4), false],
      ["its own plain load", () => vcpu.read64(0x300), true],
      ["another's load", () => other.loadExclusive(0x300, 8), true],
    ];
    for (const [what, action, stores] of spoil) {
      vcpu.write64(0x300, 0n);
      vcpu.loadExclusive(0x300, 8);
      action();
      expect(vcpu.storeExclusive(0x300, 8, 9n), what).toBe(stores);
      expect(vcpu.read64(0x300) === 9n, what).toBe(stores);
    }
  });

  it("are exclusive by value, or in strict mode by store: only the latter sees a value come back", () => {
    for (const strictMonitor of [false, true]) {
      const [one, two] = [0, 1].map(() => make({ strictMonitor }));
      one!.write64(0x400, 5n);
      expect(one!.loadExclusive(0x400, 8)).toBe(5n);
      two!.write64(0x400, 6n);
      two!.write64(0x400, 5n);
      expect(one!.storeExclusive(0x400, 8, 7n)).toBe(!strictMonitor);
      // A neighbour in the granule of 64 bytes; then one beyond it.
      one!.loadExclusive(0x400, 8);
      two!.write64(0x438, 1n);
      expect(one!.storeExclusive(0x400, 8, 8n)).toBe(!strictMonitor);
      one!.loadExclusive(0x400, 8);
      two!.write64(0x440, 1n);
      expect(one!.storeExclusive(0x400, 8, 9n)).toBe(true);
    }
  });

  it("are of EL0 where they are told so", () => {
    // XN for EL1 and not for EL0 needs a hand-written entry: stage 1 tells them apart instead.
    const el1 = make();
    el1.setRegisters(stage1Of(here.engine.memoryMap.bytes(RAM.pa + 0x8000, 0x3000)));
    s2.map({ ipa: 0x8000, size: 0x3000, pa: RAM.pa + 0x8000, prot: Prot.RW });
    expect(el1.write32(0x10, 3)).toBeUndefined();
    expect(el1.read32(0x10)).toBe(3);
    const asUser = { unprivileged: true };
    const refused = { type: "permission", stage: 1, level: 3, el: 1 };
    expect(el1.read32(0x10, asUser)).toMatchObject({ ...refused, write: false });
    expect(el1.write8(0x10, 1, asUser)).toMatchObject({ ...refused, write: true });
    expect(el1.read64(0x10, asUser)).toMatchObject(refused);
    expect(el1.atomic("add", 0x10, 4, 1n, asUser)).toMatchObject(refused);
    expect(el1.loadExclusive(0x10, 4, asUser)).toMatchObject(refused);
    expect(el1.translate(0x10, 1 | 8)).toMatchObject(refused);
    expect(el1.translate(0x10, 1)).toBe(RAM.pa + 0x10);
    expect(el1.read32(0x10, { unprivileged: false })).toBe(3);
    el1.el = 0;
    expect(el1.read32(0x10)).toMatchObject(refused);
    el1.el = 1;
    expect(el1.read32(0x1010, asUser)).toBe(0); // the next page is EL0's
    el1.pan = true;
    expect(el1.read32(0x1010)).toMatchObject(refused);
    expect(el1.read32(0x1010, asUser)).toBe(0);
  });
});

/**
 * Stage-1 tables at IPA 0x8000 (4K pages, 39 bits): VA 0 is IPA 0 for EL1 alone, VA 0x1000 is IPA 0x1000 for EL0 too.
 */
function stage1Of(bytes: Uint8Array): object {
  const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
  words[0] = 0x9000n | 3n;
  words[512] = 0xa000n | 3n;
  words[1024] = 0x0n | (1n << 10n) | (3n << 8n) | 3n;
  words[1025] = 0x1000n | (1n << 10n) | (3n << 8n) | (1n << 6n) | 3n;
  return {
    ...{ hcrEl2: (1n << 31n) | 1n, ttbr0El1: 0x8000n, mairEl1: 0xffn, sctlrEl1: 1n },
    tcrEl1: 25n | (2n << 32n) | (1n << 23n),
  };
}
