/** Which table trees VTCR_EL2 can name, where their roots lie, and that each is walked: granules, levels, concatenated roots. */
import { describe, expect, it } from "vitest";
import { Access, Fault, type VcpuStatistics } from "../../src/index.ts";
import { MODES } from "../support.ts";
import { HCR, RAM, VTCR, machine, stage2Registers } from "./machine.ts";
import {
  PAGE_SHIFT,
  S1,
  S2,
  type Shape,
  SIZE_CODE,
  STRIDE,
  chain,
  leaf,
  levelsOf,
  tcrFor,
  vtcrFor,
} from "./paging.ts";

type Column = [
  granule: Shape["granule"],
  bits: number,
  levels: number,
  start: Shape["start"],
  sl0: number,
  t0sz: number,
  entries: number,
  tables: number,
  bytes: number,
];

/** What KVM programs. The 52-bit ones have descriptors for 52 bits (DS, LPA). */
// prettier-ignore
const KVM: readonly Column[] = [
  ["4K", 32, 2, 2, 0, 32, 2048, 4, 16384],
  ["4K", 34, 2, 2, 0, 30, 8192, 16, 65536],
  ["4K", 35, 3, 1, 1, 29, 32, 1, 4096],
  ["4K", 36, 3, 1, 1, 28, 64, 1, 4096],
  ["4K", 39, 3, 1, 1, 25, 512, 1, 4096],
  ["4K", 40, 3, 1, 1, 24, 1024, 2, 8192],
  ["4K", 42, 3, 1, 1, 22, 4096, 8, 32768],
  ["4K", 43, 3, 1, 1, 21, 8192, 16, 65536],
  ["4K", 44, 4, 0, 2, 20, 32, 1, 4096],
  ["4K", 48, 4, 0, 2, 16, 512, 1, 4096],
  ["4K", 52, 4, 0, 2, 12, 8192, 16, 65536],
  ["16K", 36, 2, 2, 1, 28, 2048, 1, 16384],
  ["16K", 39, 2, 2, 1, 25, 16384, 8, 131072],
  ["16K", 40, 2, 2, 1, 24, 32768, 16, 262144],
  ["16K", 42, 3, 1, 2, 22, 64, 1, 16384],
  ["16K", 47, 3, 1, 2, 17, 2048, 1, 16384],
  ["16K", 48, 3, 1, 2, 16, 4096, 2, 32768],
  ["16K", 52, 4, 0, 3, 12, 32, 1, 16384],
  ["64K", 32, 2, 2, 1, 32, 8, 1, 65536],
  ["64K", 40, 2, 2, 1, 24, 2048, 1, 65536],
  ["64K", 42, 2, 2, 1, 22, 8192, 1, 65536],
  ["64K", 46, 2, 2, 1, 18, 131072, 16, 1048576],
  ["64K", 47, 3, 1, 2, 17, 32, 1, 65536],
  ["64K", 48, 3, 1, 2, 16, 64, 1, 65536],
  ["64K", 52, 3, 1, 2, 12, 1024, 1, 65536],
];

function shapeOf([granule, bits, , start]: Column): Shape {
  return { name: `${granule}/${bits}`, granule, start, bits, wide: bits === 52 };
}

/** One descriptor read at each level of the tree. */
function oneEach(shape: Shape): VcpuStatistics["descriptorReads"]["stage2"] {
  const none = { "-1": 0, 0: 0, 1: 0, 2: 0, 3: 0 };
  return { ...none, ...Object.fromEntries(levelsOf(shape).map((level) => [level, 1])) };
}

const PAGE_BITS = S2.NORMAL | S2.RW | S2.AF;

describe.each(MODES)("the trees that KVM makes (%s)", (mode) => {
  const here = machine(mode);

  it.each(KVM)("%s/%i: %i levels from %i on", (...column) => {
    const shape = shapeOf(column);
    const [granule, bits, levels, , sl0, t0sz, entries, tables, bytes] = column;
    const vtcr = vtcrFor(shape, 52);
    expect([(vtcr >> 6n) & 3n, vtcr & 63n]).toEqual([BigInt(sl0), BigInt(t0sz)]);
    expect(levelsOf(shape)).toHaveLength(levels);
    expect(entries / tables).toBe(tables > 1 ? 2 ** STRIDE[granule] : entries);
    const root = { root: RAM.pa, below: RAM.pa + bytes };
    const page = 2 ** PAGE_SHIFT[granule];
    const last = 2 ** bits - page;
    for (const [ipa, pa, slot] of [
      [last, 0x9003_0000, RAM.pa + (entries - 1) * 8],
      [0, 0x9002_0000, RAM.pa],
    ] as const) {
      const slots = chain(here, shape, root, ipa, 3, leaf(3, pa, PAGE_BITS));
      expect(slots[shape.start]).toBe(slot);
      const vcpu = here.vcpu({ registers: stage2Registers(vtcr, RAM.pa) });
      expect(vcpu.translate(ipa + 0x234, Access.Read)).toBe(pa + 0x234);
      expect(vcpu.statistics.descriptorReads.stage2).toEqual(oneEach(shape));
      vcpu.resetStatistics();
      const beyond = vcpu.translate(2 ** bits, Access.Read);
      if (bits < 52)
        expect(beyond).toMatchObject({ type: "translation", level: 0, fsc: 4, stage: 2 });
      else expect(beyond).toMatchObject({ type: "addressSize", level: 0, fsc: 0, stage: 1 });
      expect(vcpu.statistics.descriptorReads.stage2[shape.start]).toBe(0);
    }
  });

  it.each(KVM)("%s/%i, made by the library: %i levels from %i on", (...column) => {
    const shape = shapeOf(column);
    const [granule, ipaBits, , start, sl0, t0sz, , , bytes] = column;
    const wide = ipaBits === 52;
    const s2 = here.engine.stage2({
      granule,
      ipaBits,
      lpa2: wide && granule !== "64K",
      pa52: wide,
    });
    here.keep(s2);
    expect(s2.vtcr & 63n).toBe(BigInt(t0sz));
    expect((s2.vtcr >> 6n) & 3n).toBe(BigInt(sl0));
    expect(s2.startLevel).toBe(start);
    const page = 2 ** PAGE_SHIFT[granule];
    expect(here.engine.memoryUsage().used).toBe(bytes / 4096);
    for (const [ipa, pa] of [
      [2 ** ipaBits - page, 0x4_0000],
      [0, 0x8_0000],
    ] as const) {
      s2.map({ ipa, size: page, pa, prot: 4 });
      const vcpu = here.keep(here.engine.vcpu(s2, { tlb: false }));
      expect(vcpu.translate(ipa + 0x234, Access.Read)).toBe(pa + 0x234);
      expect(vcpu.statistics.descriptorReads.stage2).toEqual(oneEach(shape));
      expect(vcpu.translate(ipa + 0x234, Access.Write)).toMatchObject({
        type: "permission",
        level: 3,
      });
    }
  });

  it("4K/40 at IPA 0x80_0000_0000 goes through the second table of the root", () => {
    const shape = shapeOf(KVM[5]!);
    const root = { root: RAM.pa, below: RAM.pa + 8192 };
    const slots = chain(here, shape, root, 0x80_0000_0000, 3, leaf(3, 0x9000_0000, PAGE_BITS));
    expect(slots[1]).toBe(RAM.pa + 4096);
    const registers = stage2Registers(vtcrFor(shape, 40), RAM.pa);
    const { steps, outcome } = here.vcpu({ registers }).trace(0x80_0000_0008, Access.Read);
    expect(steps.map(({ pa }) => pa)).toEqual([slots[1], slots[2], slots[3]]);
    expect(outcome).toBe(0x9000_0008);
  });
});

// Which fields go together -----------------------------------------------------------------------------------------

interface Fields {
  tg0: number;
  sl0: number;
  t0sz: number;
  ds: boolean;
  sl2: boolean;
  /** Implemented physical size. */
  paBits: number;
}

/** The start level that VTCR_EL2 names legally; undefined: translation fault, level 0 (Arm ARM D8.2.7 and D24.2). */
function legalStart({ tg0, sl0, t0sz, ds, sl2, paBits }: Fields): number | undefined {
  const granule = (["4K", "64K", "16K"] as const)[tg0];
  if (granule === undefined) return undefined;
  const [page, stride] = [PAGE_SHIFT[granule], STRIDE[granule]];
  const wide = granule === "64K" ? paBits === 52 : ds;
  const levels = {
    "4K": ds && sl2 ? [-1] : [2, 1, 0, 3],
    "16K": ds ? [3, 2, 1, 0] : [3, 2, 1],
    "64K": [3, 2, 1],
  };
  const start = levels[granule][sl0];
  const bits = 64 - t0sz;
  if (start === undefined || bits > (wide ? 52 : 48)) return undefined;
  if (bits < (granule === "64K" ? 17 : 16)) return undefined; // with small tables (FEAT_TTST)
  const resolved = bits - (stride * (3 - start) + page);
  if (resolved < 1 || resolved > stride + 4) return undefined;
  if (granule === "4K" && start === 0 && paBits <= 42) return undefined;
  if (granule === "16K" && start === 1 && paBits <= 40) return undefined;
  if (granule === "64K" && start === 1 && paBits <= 42) return undefined;
  return start;
}

describe.each(MODES)("VTCR_EL2 (%s)", (mode) => {
  const here = machine(mode);

  /** MMFR0 of a CPU with this many physical address bits. */
  const mmfr0 = (paBits: number) =>
    (here.vcpu({}).registers.idAa64mmfr0El1 & ~0xfn) | (SIZE_CODE[paBits] as bigint);

  it.each([
    [40, false],
    [42, false],
    [44, false],
    [48, false],
    [52, false],
    [52, true],
  ] as const)("names a tree, or every walk faults unread: %i bits, DS %s", (paBits, ds) => {
    const vcpu = here.vcpu({ registers: { idAa64mmfr0El1: mmfr0(paBits) } });
    const wrong: object[] = [];
    let legal = 0;
    for (let code = 0; code < 4 * 4 * 64 * 2; code++) {
      const [tg0, sl0, t0sz, sl2] = [
        (code >> 7) & 3,
        code >> 9,
        (code >> 1) & 63,
        (code & 1) === 1,
      ];
      const fields = { tg0, sl0, t0sz, ds, sl2, paBits };
      const low = BigInt(t0sz | (sl0 << 6) | (tg0 << 14));
      const size = (SIZE_CODE[paBits] as bigint) << 16n;
      const vtcr = VTCR.RES1 | low | size | (ds ? VTCR.DS : 0n) | (sl2 ? VTCR.SL2 : 0n);
      vcpu.setRegisters(stage2Registers(vtcr, RAM.pa));
      vcpu.resetStatistics();
      const { type, level, stage } = vcpu.translate(0, Access.Read) as Fault;
      const reads = vcpu.statistics.descriptorReads.stage2;
      const start = legalStart(fields);
      const read = start !== undefined && reads[start as 0] === 1;
      const total = Object.values(reads).reduce((sum, count) => sum + count);
      if (start !== undefined) legal++;
      const right =
        start === undefined ? total === 0 && level === 0 : read && total === 1 && level === start;
      if (!right || type !== "translation" || stage !== 2)
        wrong.push({ ...fields, start, type, level, reads });
    }
    expect(wrong).toEqual([]);
    expect(legal).toBeGreaterThan(100);
  });

  it.each([
    ["TTBR beyond PS", 36, 0x10_8000_0000n],
    ["the same at 40 bits", 40, 0x100_8000_0000n],
    ["the same at 42 bits", 42, 0x400_8000_0000n],
  ] as const)("and the root must lie in the output size: %s", (_what, bits, vttbr) => {
    const shape: Shape = { name: "", granule: "4K", start: 1, bits: 39 };
    const vcpu = here.vcpu({ registers: stage2Registers(vtcrFor(shape, bits), vttbr) });
    expect(vcpu.translate(0, Access.Read)).toMatchObject({
      type: "addressSize",
      level: 0,
      fsc: 0,
      stage: 2,
    });
    expect(vcpu.statistics.descriptorReads.stage2[1]).toBe(0);
    // One bit less is in the output size: nothing is there.
    vcpu.setRegisters({ vttbrEl2: vttbr / 2n });
    expect(vcpu.translate(0, Access.Read)).toMatchObject({ type: "externalAbortOnWalk", level: 1 });
  });
});

describe.each(MODES)("VTTBR_EL2 (%s)", (mode) => {
  const here = machine(mode);
  const walk = (shape: Shape, outputBits: number, vttbr: bigint, ipa: number) =>
    here
      .vcpu({ registers: stage2Registers(vtcrFor(shape, outputBits), vttbr) })
      .translate(ipa, Access.Read);

  it.each([
    ["32 entries: 256 bytes", 44, 0, 0x100],
    ["2 entries: 16 bytes", 40, 0, 0x10],
    ["2 entries from level 1 on", 31, 1, 0x10],
    ["4 entries", 41, 0, 0x20],
    ["2 tables: their whole size", 40, 1, 0x2000],
    ["16 tables", 43, 1, 0x1_0000],
  ] as const)("points at a root aligned to its size: %s", (_what, bits, start, align) => {
    const shape: Shape = { name: "", granule: "4K", start, bits };
    const root = RAM.pa + 0x2_0000 + align;
    const tables = { root, below: RAM.pa + 0x8_0000 };
    chain(here, shape, tables, 0, 3, leaf(3, 0x9000_0000, PAGE_BITS));
    const exact = BigInt(root);
    for (const vttbr of [exact, exact | 1n, exact | (0xabcdn << 48n), exact | BigInt(align / 2)]) {
      expect(walk(shape, 48, vttbr, 0x8), vttbr.toString(16)).toBe(0x9000_0008);
    }
    // The next alignment below is another table, and it is empty.
    expect(walk(shape, 48, exact - BigInt(align), 0)).toMatchObject({
      type: "translation",
      level: start,
    });
  });

  it("with 52-bit addresses has PA[51:48] in bits 5:2, and roots aligned to 64 bytes at least", () => {
    const shape: Shape = { name: "", granule: "64K", start: 2, bits: 30, wide: true };
    const tables = { root: RAM.pa, below: RAM.pa + 0x1_0000 };
    chain(here, shape, tables, 0, 3, leaf(3, 0x9000_0000, PAGE_BITS));
    expect(walk(shape, 52, BigInt(RAM.pa) | 2n, 0)).toBe(0x9000_0000);
    for (const high of [1n, 2n, 4n, 8n]) {
      const beyond = walk(shape, 52, BigInt(RAM.pa) | (high << 2n), 0);
      expect(beyond).toMatchObject({ type: "externalAbortOnWalk", level: 2 });
    }
    // Without, bits below the alignment mean nothing.
    expect(walk({ ...shape, wide: false }, 48, BigInt(RAM.pa) | 0xen, 0)).toBe(0x9000_0000);
  });
});

// 52-bit output addresses --------------------------------------------------------------------------------------------

describe.each(MODES)("wide descriptors (%s)", (mode) => {
  const here = machine(mode);
  /** PA[51:48] all set, and somewhere below. */
  const HIGH = 0xf_0000_0000_0000;
  const PAGE_PA = HIGH + 0x9000_0000;
  /** Where DS and LPA have the upper bits of an address: PA[51:50] in 9:8 and 49:48 where they are; PA[51:48] in 15:12. */
  const ds = (pa: number) => (BigInt(pa) & (2n ** 50n - 1n)) | ((BigInt(pa) >> 50n) << 8n);
  const lpa = (pa: number) => (BigInt(pa) & (2n ** 48n - 1n)) | ((BigInt(pa) >> 48n) << 12n);

  const SHAPES: [string, Shape, (pa: number) => bigint][] = [
    ["4K, DS", { name: "", granule: "4K", start: 0, bits: 48, wide: true }, ds],
    ["16K, DS", { name: "", granule: "16K", start: 1, bits: 47, wide: true }, ds],
    ["64K, LPA", { name: "", granule: "64K", start: 2, bits: 42, wide: true }, lpa],
  ];
  const tables = { root: RAM.pa, below: RAM.pa + 0x2_0000 };

  it.each(SHAPES)("have output addresses of 52 bits at stage 2: %s", (_name, shape, encode) => {
    const bits = S2.NORMAL | S2.RW | S2.AF | 3n;
    chain(here, shape, tables, 0, 3, encode(PAGE_PA) | bits);
    const translate = (output: number) =>
      here
        .vcpu({ registers: stage2Registers(vtcrFor(shape, output), RAM.pa) })
        .translate(0x238, Access.Read);
    expect(translate(52)).toBe(PAGE_PA + 0x238);
    expect(translate(48)).toMatchObject({ type: "addressSize", level: 3 });
    for (const bit of [48, 49, 50, 51]) {
      const pa = 2 ** bit + 0x9000_0000;
      chain(here, shape, tables, 0, 3, encode(pa) | bits);
      expect(translate(52)).toBe(pa + 0x238);
      expect(translate(48), String(bit)).toMatchObject({ type: "addressSize", level: 3 });
    }
  });

  it.each(SHAPES)("have output addresses of 52 bits at stage 1: %s", (_name, shape, encode) => {
    chain(here, shape, tables, 0, 3, encode(PAGE_PA) | S1.AF | 3n);
    const translate = (output: number) => {
      const registers = {
        hcrEl2: HCR.RW,
        sctlrEl1: 1n,
        tcrEl1: tcrFor(shape, output),
        ttbr0El1: BigInt(RAM.pa),
      };
      return here.vcpu({ registers }).translate(0x238, Access.Read);
    };
    expect(translate(52)).toBe(PAGE_PA + 0x238);
    expect(translate(48)).toMatchObject({ type: "addressSize", level: 3, stage: 1 });
  });

  it.each(SHAPES)("name tables of 52 bits: %s", (_name, shape, encode) => {
    chain(here, shape, tables, 0, 2, encode(HIGH) | 3n);
    const translate = (output: number) =>
      here
        .vcpu({ registers: stage2Registers(vtcrFor(shape, output), RAM.pa) })
        .translate(0x238, Access.Read);
    expect(translate(52)).toMatchObject({ type: "externalAbortOnWalk", level: 3 }); // nothing is there
    expect(translate(48)).toMatchObject({ type: "addressSize", level: 2 });
  });

  it("give HPFAR_EL2 all bits of an IPA", () => {
    const shape: Shape = { name: "", granule: "4K", start: 0, bits: 52, wide: true };
    const vcpu = here.vcpu({ registers: stage2Registers(vtcrFor(shape, 52), RAM.pa) });
    for (const ipa of [2 ** 52 - 8, 2 ** 51, 0x8_1234_5678_9000]) {
      const hpfar = BigInt(Math.floor(ipa / 4096)) << 4n;
      expect(vcpu.translate(ipa, Access.Read)).toMatchObject({
        type: "translation",
        level: 0,
        ipa,
        hpfar,
      });
    }
  });

  it("mean addresses of 48 bits where the CPU or the register has no more", () => {
    const shape: Shape = { name: "", granule: "64K", start: 2, bits: 42, wide: true };
    chain(here, shape, tables, 0, 3, lpa(PAGE_PA) | S2.NORMAL | S2.RW | S2.AF | 3n);
    const vcpu = here.vcpu({ registers: stage2Registers(vtcrFor(shape, 48), RAM.pa) });
    const { idAa64mmfr0El1 } = vcpu.registers;
    vcpu.setRegisters({ idAa64mmfr0El1: (idAa64mmfr0El1 & ~0xfn) | 5n }); // PARange 48: bits 15:12 are RES0
    expect(vcpu.translate(0x238, Access.Read)).toBe(0x9000_0238);
  });
});
