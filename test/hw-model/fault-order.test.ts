/**
 * Which of two faults an access takes: translation before address size before access flag before alignment before
 * permission; the table above before the one below; stage 1 before stage 2. The loser leaves no mark on memory.
 */
import { describe, expect, it } from "vitest";
import { Access, type Fault, type FaultType, type Registers } from "../../src/index.ts";
import { MODES } from "../support.ts";
import { guestWalkingAt } from "./fault-cases.ts";
import {
  DATA,
  HCR,
  HOLE,
  type Machine,
  RAM,
  SCTLR,
  VTCR,
  machine,
  stage2Registers,
} from "./machine.ts";
import { S1, S2, type Shape, TABLE, chain, leaf, tcrFor, vtcrFor } from "./paging.ts";

const SHAPE: Shape = { name: "4K/40", granule: "4K", start: 1, bits: 40 };
const VTCR_40 = vtcrFor(SHAPE, 40);
const BEYOND = 2n ** 42n;
const ROOT = { root: RAM.pa, below: RAM.pa + 0x1_0000 };
const GUEST = { root: RAM.pa + 0x10_0000, below: RAM.pa + 0x11_0000 };
const IPA = 0x80_0000_1238;

/** What can be wrong with a leaf, the strongest first, and what to do to its bits; alignment also takes an unaligned access. */
interface Flaw {
  readonly type: FaultType;
  apply(leaf: bigint): bigint;
}

const STAGE2: readonly Flaw[] = [
  { type: "translation", apply: (leaf) => leaf & ~1n },
  { type: "addressSize", apply: (leaf) => leaf | BEYOND },
  { type: "accessFlag", apply: (leaf) => leaf & ~S2.AF },
  { type: "alignment", apply: (leaf) => (leaf & ~S2.NORMAL) | S2.DEVICE },
  { type: "permission", apply: (leaf) => leaf & ~S2.RW },
];
const STAGE1: readonly Flaw[] = [
  { type: "translation", apply: (leaf) => leaf & ~1n },
  { type: "addressSize", apply: (leaf) => leaf | BEYOND },
  { type: "accessFlag", apply: (leaf) => leaf & ~S1.AF },
  { type: "alignment", apply: (leaf) => leaf | S1.ATTR1 },
  { type: "permission", apply: (leaf) => leaf | S1.READ_ONLY },
];

/** Every two of them, and all: the first must win. */
function contests(flaws: readonly Flaw[]): [string, readonly Flaw[]][] {
  const pairs = flaws.flatMap((first, i) => flaws.slice(i + 1).map((other) => [first, other]));
  return [...pairs, flaws].map((set) => [set.map(({ type }) => type).join(" over "), set]);
}

function flawed(leaf: bigint, flaws: readonly Flaw[]): bigint {
  return flaws.reduce((value, flaw) => flaw.apply(value), leaf);
}

/** A guest with 4K pages and 39 bits whose VA 0x1000 has this descriptor. MAIR: 0 write-back, 1 Device. */
function guest(here: Machine, descriptor: bigint): Partial<Registers> {
  const shape: Shape = { name: "", granule: "4K", start: 1, bits: 39 };
  chain(here, shape, GUEST, 0x1000, 3, descriptor);
  const tcrEl1 = tcrFor(shape, 40);
  return { sctlrEl1: SCTLR.M, tcrEl1, ttbr0El1: BigInt(GUEST.root), mairEl1: 0x00ffn };
}

describe.each(MODES)("two faults at once (%s)", (mode) => {
  const here = machine(mode);
  const GOOD2 = leaf(3, DATA.pa, S2.NORMAL | S2.RW | S2.AF);
  const GOOD1 = leaf(3, DATA.pa, S1.AF);

  it("and none: the leaves without a flaw work", () => {
    chain(here, SHAPE, ROOT, IPA, 3, GOOD2);
    const flat = here.vcpu({ registers: stage2Registers(VTCR_40, ROOT.root, HCR.DC) });
    expect(flat.write32(IPA + 2, 0)).toBeUndefined();
    const own = here.vcpu({ registers: guest(here, GOOD1) });
    expect(own.write32(0x1002, 0)).toBeUndefined();
  });

  it.each(contests(STAGE2))("of stage 2: %s", (_name, flaws) => {
    chain(here, SHAPE, ROOT, IPA, 3, flawed(GOOD2, flaws));
    const vcpu = here.vcpu({ registers: stage2Registers(VTCR_40, ROOT.root, HCR.DC) });
    expect(vcpu.write32(IPA + 2, 1)).toMatchObject({ type: flaws[0]!.type, stage: 2 });
    expect(here.changes()).toEqual({});
  });

  it.each(contests(STAGE1))("of stage 1: %s", (_name, flaws) => {
    const vcpu = here.vcpu({ registers: guest(here, flawed(GOOD1, flaws)) });
    expect(vcpu.write32(0x1002, 1)).toMatchObject({ type: flaws[0]!.type, stage: 1 });
    expect(here.changes()).toEqual({});
  });

  it.each(contests(STAGE2.filter(({ type }) => type !== "alignment")))(
    "of stage 2 on a stage-1 descriptor: %s",
    (_name, flaws) => {
      chain(here, SHAPE, ROOT, IPA, 3, flawed(GOOD2, flaws));
      const { va, registers } = guestWalkingAt(IPA);
      const vcpu = here.vcpu({
        registers: { ...registers, ...stage2Registers(VTCR_40, ROOT.root) },
      });
      expect(vcpu.translate(va, Access.Read)).toMatchObject({ type: flaws[0]!.type, s1ptw: true });
      expect(here.changes()).toEqual({});
    },
  );

  it.each(["addressSize", "accessFlag"] as const)(
    "of stage 2 on a descriptor in Device memory with HCR_EL2.PTW: %s over permission",
    (type) => {
      const flaw = STAGE2.find((each) => each.type === type)!;
      chain(here, SHAPE, ROOT, IPA, 3, flawed(GOOD2, [flaw, STAGE2[3]!]));
      const { va, registers } = guestWalkingAt(IPA);
      const vcpu = here.vcpu({
        registers: { ...registers, ...stage2Registers(VTCR_40, ROOT.root, HCR.PTW) },
      });
      expect(vcpu.translate(va, Access.Read)).toMatchObject({ type, s1ptw: true });
      here.set(ROOT.below + 0x1_0000 + 8, flawed(GOOD2, [STAGE2[3]!]));
      expect(vcpu.translate(va, Access.Read)).toMatchObject({
        type: "permission",
        s1ptw: true,
        level: 3,
      });
    },
  );

  it("of access flag and permission with HA: permission, and the flag stays", () => {
    chain(here, SHAPE, ROOT, IPA, 3, flawed(GOOD2, [STAGE2[2]!, STAGE2[4]!]));
    const vcpu = here.vcpu({ registers: stage2Registers(VTCR_40 | VTCR.HA, ROOT.root) });
    expect(vcpu.translate(IPA, Access.Write)).toMatchObject({ type: "permission" });
    expect(here.changes()).toEqual({});
  });

  it("of permission and an update that memory cannot do: permission", () => {
    chain(here, SHAPE, ROOT, IPA, 3, flawed(GOOD2, [STAGE2[2]!, STAGE2[4]!]));
    const registers = stage2Registers(VTCR_40 | VTCR.HA, ROOT.root);
    const vcpu = here.vcpu({ registers, atomicUpdates: false });
    expect(vcpu.translate(IPA, Access.Write)).toMatchObject({ type: "permission" });
  });

  it.each([
    [
      "the size of the tables",
      { vtcrEl2: VTCR_40 | 0xc0n, vttbrEl2: BEYOND },
      IPA,
      "translation",
      0,
    ],
    ["an IPA beyond its size", { vttbrEl2: BEYOND }, 2 ** 40, "translation", 0],
    ["the base", { vttbrEl2: BEYOND }, IPA, "addressSize", 0],
    ["a base without memory", { vttbrEl2: BigInt(HOLE) }, IPA, "externalAbortOnWalk", 1],
  ] as const)("of whole tables come before entries: %s", (_name, registers, ipa, type, level) => {
    const vcpu = here.vcpu({ registers: { ...stage2Registers(VTCR_40, ROOT.root), ...registers } });
    expect(vcpu.translate(ipa, Access.Read)).toMatchObject({ type, level });
  });

  it.each([
    ["a VA of neither half", 2 ** 39, {}],
    ["a half that EL0 may not use (E0PD0)", 0x1000, { tcrEl1: 1n << 55n }],
    ["a half that is not walked (EPD0)", 0x1000, { tcrEl1: 1n << 7n }],
  ] as const)("of stage 1: %s comes before a base beyond IPS", (_name, va, more) => {
    const registers = guest(here, GOOD1);
    const vcpu = here.vcpu({ registers: { ...registers, ttbr0El1: BEYOND }, el: 0 });
    const { idAa64mmfr2El1, tcrEl1 } = vcpu.registers;
    expect(vcpu.translate(0x1000, Access.Read)).toMatchObject({ type: "addressSize", level: 0 });
    vcpu.setRegisters({
      tcrEl1: tcrEl1 | ("tcrEl1" in more ? more.tcrEl1 : 0n),
      idAa64mmfr2El1: idAa64mmfr2El1 | (1n << 60n), // FEAT_E0PD
    });
    expect(vcpu.translate(va, Access.Read)).toMatchObject({
      type: "translation",
      level: 0,
      stage: 1,
    });
  });

  it("at two levels: the upper one", () => {
    const slots = chain(here, SHAPE, ROOT, IPA, 3, 0n);
    const vcpu = here.vcpu({ registers: stage2Registers(VTCR_40, ROOT.root) });
    const outcome = () => vcpu.translate(IPA, Access.Read) as Fault;
    expect(outcome()).toMatchObject({ type: "translation", level: 3 });
    here.set(slots[2], BEYOND | TABLE);
    expect(outcome()).toMatchObject({ type: "addressSize", level: 2 });
    here.set(slots[1], leaf(1, 0, S2.AF));
    expect(outcome()).toMatchObject({ type: "permission", level: 1 });
  });

  // Every fault of stage 1 against every one of stage 2 on the address that stage 1 gives.
  it.each(STAGE1.map(({ type }) => type))("of both stages: stage 1 (%s)", (type) => {
    const one = STAGE1.find((flaw) => flaw.type === type)!;
    for (const other of STAGE2) {
      chain(here, SHAPE, ROOT, DATA.pa, 3, flawed(GOOD2, [other]));
      here.set(ROOT.root + 2 * 8, BigInt(ROOT.below) | TABLE);
      here.set(ROOT.below, leaf(2, RAM.pa, S2.NORMAL | S2.RW | S2.AF)); // the guest's tables
      const registers = {
        ...guest(here, flawed(GOOD1, [one])),
        ...stage2Registers(VTCR_40, ROOT.root),
      };
      const vcpu = here.vcpu({ registers });
      expect(vcpu.write32(0x1002, 1)).toMatchObject({ type, stage: 1, el: 1 });
      here.set(GUEST.below + 0x1_0000 + 8, GOOD1);
      expect(vcpu.write32(0x1002, 1)).toMatchObject({
        type: other.type,
        stage: 2,
        el: 2,
        s1ptw: false,
      });
      here.next();
    }
  });
});
