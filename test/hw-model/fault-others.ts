/** Ways to the faults that no single descriptor makes: illegal sizes, alignment, memory that is not there, knobs, AT, atomics. */
import { Access } from "../../src/index.ts";
import { type Case, guestWalkingAt } from "./fault-cases.ts";
import { DATA, HCR, HOLE, type Machine, RAM, SCTLR, VTCR, stage2Registers } from "./machine.ts";
import { S1, S2, type Shape, TABLE, chain, leaf, tcrFor, vtcrFor } from "./paging.ts";

const SHAPE: Shape = { name: "4K/40", granule: "4K", start: 1, bits: 40 };
const ROOT = { root: RAM.pa, below: RAM.pa + 0x1_0000 };
const GUEST = { root: RAM.pa + 0x10_0000, below: RAM.pa + 0x11_0000 };
const VTCR_40 = vtcrFor(SHAPE, 40);
const IPA = 0x80_0000_1238;
const GOOD = S2.NORMAL | S2.RW | S2.AF;
const { Read, Write, Fetch, ReadWrite } = Access;

/** A stage 2 that maps the page of `IPA` to guest memory, and the block of RAM to itself. */
function tables(machine: Machine, bits = GOOD): void {
  chain(machine, SHAPE, ROOT, IPA, 3, leaf(3, DATA.pa, bits));
  machine.set(ROOT.root + 2 * 8, leaf(1, RAM.pa, GOOD)); // 1 GiB
}

/** A vCPU on it; memory is not Device with stage 1 off. */
function cpu(
  machine: Machine,
  { hcr = 0n, ...options }: Parameters<Machine["vcpu"]>[0] & { hcr?: bigint } = {},
) {
  const { registers, ...rest } = options;
  const all = { ...stage2Registers(VTCR_40, ROOT.root, HCR.DC | hcr), ...registers };
  return machine.vcpu({ ...rest, registers: all });
}

/** A guest with 4K pages and 39 bits: VA 0x1000 on, mapped by `bits`, to IPA. */
function guest(machine: Machine, bits: bigint, ipa = IPA - (IPA % 0x1000)) {
  const shape: Shape = { name: "", granule: "4K", start: 1, bits: 39 };
  const slots = chain(machine, shape, GUEST, 0x1000, 3, leaf(3, ipa, bits));
  const registers = {
    ...{
      sctlrEl1: SCTLR.M,
      tcrEl1: tcrFor(shape, 40),
      ttbr0El1: BigInt(GUEST.root),
      mairEl1: 0x00ffn,
    },
    ...stage2Registers(VTCR_40, ROOT.root),
  };
  return { slots, registers };
}

const stage2 = { stage: 2, el: 2 } as const;
const stage1 = { stage: 1, el: 1, same: true } as const;
const walk = { stage: 2, el: 2, s1ptw: true } as const;

/** A table page for stage 1 at IPA, mapped with these bits; its level-1 entry for the VA is a table. */
function tablePage(machine: Machine, bits: bigint) {
  tables(machine, bits);
  machine.set(DATA.pa + (IPA % 0x1000), BigInt(HOLE) | TABLE);
  return guestWalkingAt(IPA);
}
const WALK_VA = guestWalkingAt(IPA).va;

// prettier-ignore
export const OTHER_CASES: readonly Case[] = [
  // Sizes and bases: level 0.
  { name: "an illegal VTCR_EL2", expected: { ...stage2, type: "translation", level: 0, access: Read, va: IPA, ipa: IPA },
    run: (machine) => cpu(machine, { registers: { vtcrEl2: VTCR_40 | 0xc0n } }).translate(IPA, Read) },
  { name: "an IPA beyond its size", expected: { ...stage2, type: "translation", level: 0, access: Write, va: 2 ** 40, ipa: 2 ** 40 },
    run: (machine) => cpu(machine).translate(2 ** 40, Write) },
  { name: "VTTBR_EL2 beyond PS", expected: { ...stage2, type: "addressSize", level: 0, access: Fetch, va: IPA, ipa: IPA },
    run: (machine) => cpu(machine, { registers: { vttbrEl2: 2n ** 40n } }).translate(IPA, Fetch) },
  { name: "TTBR0_EL1 beyond the IPA size", expected: { ...walk, type: "translation", level: 0, access: Write, va: 0x1000, ipa: 2 ** 44 },
    run(machine) {
      const { registers } = guest(machine, S1.AF);
      const tcrEl1 = tcrFor({ name: "", granule: "4K", start: 1, bits: 39 }, 48);
      return machine.vcpu({ registers: { ...registers, tcrEl1, ttbr0El1: 2n ** 44n } }).translate(0x1000, Write);
    } },
  { name: "VTTBR_EL2 beyond PS, met by a stage-1 walk", expected: { ...walk, type: "addressSize", level: 0, access: Read, va: 0x1000, ipa: GUEST.root },
    run(machine) {
      const { registers } = guest(machine, S1.AF);
      return machine.vcpu({ registers: { ...registers, vttbrEl2: 2n ** 40n } }).translate(0x1000, Read);
    } },
  { name: "TTBR0_EL1 beyond IPS", expected: { ...stage1, type: "addressSize", level: 0, access: Read, va: 0x1000 },
    run(machine) {
      const { registers } = guest(machine, S1.AF);
      return machine.vcpu({ registers: { ...registers, ttbr0El1: 2n ** 40n } }).translate(0x1000, Read);
    } },
  { name: "a VA of neither half", expected: { ...stage1, type: "translation", level: 0, access: Write, va: 2 ** 40 },
    run: (machine) => machine.vcpu({ registers: guest(machine, S1.AF).registers }).translate(2 ** 40, Write) },
  { name: "T0SZ that no granule has", expected: { ...stage1, type: "translation", level: 0, access: Read, va: 0x1000 },
    run(machine) {
      const { registers } = guest(machine, S1.AF);
      return machine.vcpu({ registers: { ...registers, tcrEl1: 60n } }).translate(0x1000, Read);
    } },
  { name: "a half that is not walked (EPD0)", expected: { ...stage1, type: "translation", level: 0, access: Read, va: 0x1000 },
    run(machine) {
      const { registers } = guest(machine, S1.AF);
      return machine.vcpu({ registers: { ...registers, tcrEl1: registers.tcrEl1 | (1n << 7n) } }).translate(0x1000, Read);
    } },
  { name: "stage 1 off, a VA beyond the physical size", expected: { ...stage1, type: "addressSize", level: 0, access: Fetch, va: -0x1000 },
    run: (machine) => cpu(machine).translate(-0x1000, Fetch) },
  { name: "stage 1 off, the same at EL0", expected: { stage: 1, el: 1, type: "addressSize", level: 0, access: Read, va: -0x1000 },
    run: (machine) => cpu(machine, { el: 0 }).translate(-0x1000, Read) },

  // Nothing at the final address.
  { name: "a load from nowhere", expected: { ...stage1, type: "externalAbort", access: Read, va: IPA },
    run(machine) { tables(machine); machine.set(ROOT.below + 2 * 0x1_0000 - 0x1_0000 + 8, leaf(3, HOLE, GOOD)); return cpu(machine).read32(IPA); } },
  { name: "a store to nowhere, from EL0", expected: { stage: 1, el: 1, type: "externalAbort", access: Write, va: HOLE },
    run: (machine) => machine.vcpu({ el: 0 }).write32(HOLE, 1) },
  { name: "a fetch from nowhere", expected: { ...stage1, type: "externalAbort", access: Fetch, va: HOLE },
    run: (machine) => machine.vcpu({}).fetch(HOLE) },
  { name: "a load of EL2 from nowhere", expected: { stage: 1, el: 2, same: true, type: "externalAbort", access: Read, va: HOLE },
    run: (machine) => machine.vcpu({ el: 2 }).read64(HOLE) },

  // Alignment.
  { name: "unaligned with stage 1 off: Device", expected: { ...stage1, type: "alignment", access: Read, va: DATA.pa + 2 },
    run: (machine) => machine.vcpu({}).read32(DATA.pa + 2) },
  { name: "unaligned, Device by stage 1", expected: { ...stage1, type: "alignment", access: Write, va: 0x1001 },
    run(machine) { tables(machine); return machine.vcpu({ registers: guest(machine, S1.AF | S1.ATTR1).registers }).write16(0x1001, 1); } },
  { name: "unaligned, Device by stage 2", expected: { ...stage2, type: "alignment", access: Write, va: IPA + 1 },
    run(machine) { tables(machine, S2.DEVICE | S2.RW | S2.AF); return cpu(machine).write64(IPA + 1, 1n); } },
  { name: "unaligned, Device by stage 2, under a stage 1", expected: { ...stage2, type: "alignment", access: Read, va: 0x1001 },
    run(machine) {
      tables(machine, S2.DEVICE | S2.RW | S2.AF);
      return machine.vcpu({ registers: guest(machine, S1.AF).registers }).read32(0x1001);
    } },
  { name: "unaligned with SCTLR_EL1.A", expected: { ...stage1, type: "alignment", access: Read, va: IPA + 4 },
    run(machine) { tables(machine); return cpu(machine, { registers: { sctlrEl1: SCTLR.A } }).read64(IPA + 4); } },
  { name: "an unaligned load-exclusive", expected: { ...stage1, type: "alignment", access: Read, va: IPA + 4 },
    run(machine) { tables(machine); return cpu(machine).loadExclusive(IPA + 4, 8); } },
  { name: "an unaligned store-exclusive", expected: { ...stage1, type: "alignment", access: Write, va: IPA + 2 },
    run(machine) { tables(machine); return cpu(machine).storeExclusive(IPA + 2, 4, 1n); } },

  // Knobs.
  { name: "a contiguous group that disagrees", expected: { ...stage2, type: "tlbConflict", access: Read, va: IPA },
    run(machine) { tables(machine, GOOD | S2.CONTIGUOUS); return cpu(machine, { inconsistentContiguous: "conflict" }).translate(IPA, Read); } },
  { name: "the same on a stage-1 descriptor", expected: { ...walk, type: "tlbConflict", access: Read, va: WALK_VA },
    run(machine) {
      const { va, registers } = tablePage(machine, GOOD | S2.CONTIGUOUS);
      return cpu(machine, { registers: { ...registers, hcrEl2: HCR.RW | HCR.VM }, inconsistentContiguous: "conflict" }).translate(va, Read);
    } },
  { name: "the same of stage 1", expected: { ...stage1, type: "tlbConflict", access: Write, va: 0x1008 },
    run(machine) {
      tables(machine);
      const { registers } = guest(machine, S1.AF | S1.CONTIGUOUS);
      return machine.vcpu({ registers, inconsistentContiguous: "conflict" }).translate(0x1008, Write);
    } },
  { name: "an update in memory without atomics", expected: { ...stage2, type: "unsupportedAtomicUpdate", access: Read, va: IPA },
    run(machine) {
      tables(machine, GOOD & ~S2.AF);
      return cpu(machine, { registers: { vtcrEl2: VTCR_40 | VTCR.HA }, atomicUpdates: false }).translate(IPA, Read);
    } },
  { name: "the same on a stage-1 descriptor", expected: { ...walk, type: "unsupportedAtomicUpdate", access: Read, va: WALK_VA },
    run(machine) {
      const { va, registers } = tablePage(machine, GOOD & ~S2.AF);
      const all = { ...registers, hcrEl2: HCR.RW | HCR.VM, vtcrEl2: VTCR_40 | VTCR.HA };
      return cpu(machine, { registers: all, atomicUpdates: false }).translate(va, Read);
    } },
  { name: "the same of stage 1", expected: { ...stage1, type: "unsupportedAtomicUpdate", access: Write, va: 0x1008 },
    run(machine) {
      tables(machine);
      const { registers } = guest(machine, 0n);
      const all = { ...registers, tcrEl1: registers.tcrEl1 | (1n << 39n) };
      return machine.vcpu({ registers: all, atomicUpdates: false }).translate(0x1008, Write);
    } },

  // Stage-1 descriptors that stage 2 gives away with conditions.
  { name: "a stage-1 table in Device memory, with HCR_EL2.PTW", expected: { ...walk, type: "permission", level: 3, access: Write, va: WALK_VA, ipa: IPA },
    run(machine) {
      const { va, registers } = tablePage(machine, S2.DEVICE | S2.RW | S2.AF);
      return cpu(machine, { registers: { ...registers, hcrEl2: HCR.RW | HCR.VM | HCR.PTW } }).translate(va, Write);
    } },
  { name: "the same without HCR_EL2.PTW: the walk goes on, to nowhere", expected: { ...stage1, type: "externalAbortOnWalk", level: 2, access: Read, va: WALK_VA },
    run(machine) {
      const { va, registers } = tablePage(machine, S2.DEVICE | S2.RW | S2.AF);
      machine.set(ROOT.root + 3 * 8, leaf(1, 0xc000_0000, GOOD));
      return cpu(machine, { registers: { ...registers, hcrEl2: HCR.RW | HCR.VM } }).translate(va, Read);
    } },
  { name: "an update of a stage-1 descriptor on a page that is not writable", expected: { ...walk, type: "permission", level: 1, access: Read, va: 0x1008, ipa: GUEST.below + 0x1_0000 + 8 },
    run(machine) {
      tables(machine);
      machine.set(ROOT.root + 2 * 8, leaf(1, RAM.pa, GOOD & ~S2.W));
      const { registers } = guest(machine, 0n);
      return machine.vcpu({ registers: { ...registers, tcrEl1: registers.tcrEl1 | (1n << 39n) } }).translate(0x1008, Read);
    } },

  // Which direction an atomic has.
  { name: "an atomic that may only read", expected: { ...stage2, type: "permission", level: 3, access: ReadWrite, write: true, va: IPA, ipa: IPA },
    run(machine) { tables(machine, GOOD & ~S2.W); return cpu(machine).atomic("add", IPA, 8, 1n); } },
  { name: "an atomic that may only write", expected: { ...stage2, type: "permission", level: 3, access: ReadWrite, write: false, va: IPA, ipa: IPA },
    run(machine) { tables(machine, GOOD & ~S2.R); return cpu(machine).compareAndSwap(IPA, 8, 0n, 1n); } },
  { name: "an atomic on nothing", expected: { ...stage2, type: "translation", level: 1, access: ReadWrite, write: false, va: 0x1000, ipa: 0x1000 },
    run(machine) { tables(machine); return cpu(machine).atomic("swp", 0x1000, 4, 1n); } },
  { name: "an atomic that stage 1 lets read", expected: { ...stage1, type: "permission", level: 3, access: ReadWrite, write: true, va: 0x1008 },
    run(machine) {
      tables(machine);
      return machine.vcpu({ registers: guest(machine, S1.AF | S1.READ_ONLY).registers }).atomic("eor", 0x1008, 8, 1n);
    } },
  { name: "an atomic that stage 1 does not", expected: { stage: 1, el: 1, type: "permission", level: 3, access: ReadWrite, write: false, va: 0x1008 },
    run(machine) {
      tables(machine);
      return machine.vcpu({ el: 0, registers: guest(machine, S1.AF).registers }).atomic("set", 0x1008, 8, 1n);
    } },
  { name: "a load-exclusive needs to read only, a store-exclusive to write", expected: { ...stage2, type: "permission", level: 3, access: Write, va: IPA, ipa: IPA },
    run(machine) {
      tables(machine, GOOD & ~S2.W);
      const vcpu = cpu(machine);
      const loaded = vcpu.loadExclusive(IPA, 8);
      return loaded === 0n ? vcpu.storeExclusive(IPA, 8, 1n) : loaded;
    } },

  // Accesses over the end of a page: the page that fails, and the first byte there.
  { name: "a load into a page that is not there", expected: { ...stage2, type: "translation", level: 3, access: Read, va: 0x80_0000_2000, ipa: 0x80_0000_2000 },
    run(machine) { tables(machine); return cpu(machine).read64(0x80_0000_1ffc); } },
  { name: "a store out of a page that is not there", expected: { ...stage2, type: "translation", level: 3, access: Write, va: 0x80_0000_0ffc, ipa: 0x80_0000_0ffc },
    run(machine) { tables(machine); return cpu(machine).write64(0x80_0000_0ffc, 1n); } },

  // AT: CM and WnR are set, whatever it asks for.
  { name: "AT S1E1R of EL1 whose walk stage 2 stops", expected: { ...walk, at: true, type: "translation", level: 3, access: Read, va: WALK_VA, ipa: IPA + 0x1000 },
    run(machine) {
      const { registers } = tablePage(machine, GOOD);
      return cpu(machine, { registers: { ...registers, ttbr0El1: BigInt(IPA - (IPA % 0x1000) + 0x1000), hcrEl2: HCR.RW | HCR.VM } }).at("S1E1R", WALK_VA);
    } },
  { name: "AT S1E0W of EL1 whose walk meets no memory", expected: { ...stage1, at: true, type: "externalAbortOnWalk", level: 2, access: Write, va: WALK_VA },
    run(machine) {
      const { registers } = tablePage(machine, GOOD);
      machine.set(ROOT.root + 3 * 8, leaf(1, 0xc000_0000, GOOD));
      return cpu(machine, { registers: { ...registers, hcrEl2: HCR.RW | HCR.VM } }).at("S1E0W", WALK_VA);
    } },
];
