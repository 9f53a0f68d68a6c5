/** Ways to each fault of a walk: what is wrong with which descriptor, by type and level, for trees of every granule. */
import { Access, type Fault, type FaultType, type Registers } from "../../src/index.ts";
import { DATA, HCR, HOLE, type Machine, RAM, SCTLR, stage2Registers } from "./machine.ts";
import {
  type Level,
  S1,
  S2,
  type Shape,
  TABLE,
  chain,
  hasLeaves,
  leaf,
  levelsOf,
  sampleAddress,
} from "./paging.ts";
import { tcrEl2For, tcrFor, vtcrFor } from "./paging.ts";

/** What an access ends with, and all that its registers must say. */
export interface Expected {
  type: FaultType;
  level?: Level;
  stage: 1 | 2;
  s1ptw?: boolean;
  /** Taken to. */
  el: 1 | 2;
  /** Taken from the same Exception level. */
  same?: boolean;
  access: number;
  va: number;
  /** HPFAR, where it is defined. */
  ipa?: number;
  /** An address translation instruction. */
  at?: boolean;
  /** WnR, where it is not the access's direction. */
  write?: boolean;
}

export interface Case {
  readonly name: string;
  readonly expected: Expected;
  run(machine: Machine): Fault | unknown;
}

/** Beyond the output size of 40 bits, and aligned to every block. */
const OUTPUT_BITS = 40;
const BEYOND = 2n ** 42n;

/** A descriptor that is wrong, at a level; "hole": the table of that level is where no memory is. */
interface Flaw {
  readonly what: string;
  readonly type: FaultType;
  readonly descriptor: bigint | "hole";
}

/** What can be wrong at a level, for leaves of the bits `good` and `denied`. */
function flawsAt(shape: Shape, level: Level, good: bigint, af: bigint, denied: bigint): Flaw[] {
  const page = level === 3 ? BigInt(DATA.pa) : 0n;
  const flaws: Flaw[] = [
    { what: "invalid", type: "translation", descriptor: 0n },
    { what: "invalid, the rest set", type: "translation", descriptor: ~1n & (2n ** 64n - 1n) },
    { what: "no memory", type: "externalAbortOnWalk", descriptor: "hole" },
  ];
  if (level < 3) {
    flaws.push({ what: "next table", type: "addressSize", descriptor: BEYOND | TABLE });
  } else {
    flaws.push({ what: "reserved type", type: "translation", descriptor: page | good | 1n });
  }
  if (!hasLeaves(shape, level)) {
    flaws.push({
      what: "no blocks here",
      type: "translation",
      descriptor: leaf(level, page, good),
    });
    return flaws;
  }
  return [
    ...flaws,
    { what: "output", type: "addressSize", descriptor: leaf(level, BEYOND, good) },
    { what: "old", type: "accessFlag", descriptor: leaf(level, page, good & ~af) },
    { what: "denied", type: "permission", descriptor: leaf(level, page, denied) },
  ];
}

// Stage 2 --------------------------------------------------------------------------------------------------------

export const STAGE2_SHAPES: readonly Shape[] = [
  { name: "4K/40", granule: "4K", start: 1, bits: 40 },
  { name: "4K/48", granule: "4K", start: 0, bits: 48 },
  { name: "4K/52 from level 0", granule: "4K", start: 0, bits: 52, wide: true },
  { name: "4K/52 from level -1", granule: "4K", start: -1, bits: 52, wide: true },
  { name: "4K/34", granule: "4K", start: 2, bits: 34 },
  { name: "4K/16", granule: "4K", start: 3, bits: 16 },
  { name: "16K/40", granule: "16K", start: 2, bits: 40 },
  { name: "16K/47", granule: "16K", start: 1, bits: 47 },
  { name: "16K/52", granule: "16K", start: 0, bits: 52, wide: true },
  { name: "64K/42", granule: "64K", start: 2, bits: 42 },
  { name: "64K/52", granule: "64K", start: 1, bits: 52, wide: true },
];

/** Accesses, and the Exception level that makes them. */
const ACCESSES = [
  ["read", Access.Read, 1],
  ["write", Access.Write, 0],
  ["fetch", Access.Fetch, 1],
] as const;

const ROOT2 = { root: RAM.pa, below: RAM.pa + 0x2_0000 };

/** A guest whose first stage-1 descriptor is at IPA `ia`: 4K pages, 39 bits. The VA that it is for. */
export function guestWalkingAt(ia: number): { va: number; registers: Partial<Registers> } {
  const offset = ia % 0x1000;
  const shape: Shape = { name: "", granule: "4K", start: 1, bits: 39 };
  const registers = {
    ...{ sctlrEl1: SCTLR.M, ttbr0El1: BigInt(ia - offset), mairEl1: 0xffn },
    tcrEl1: tcrFor(shape, 48),
  };
  return { va: (offset / 8) * 2 ** 30 + 0x1234, registers };
}

/** Faults of stage 2: on the access itself, and on a stage-1 descriptor. */
export function stage2Cases(shape: Shape): Case[] {
  const good = S2.NORMAL | S2.RW | S2.AF;
  const denied = S2.NORMAL | S2.AF | S2.XN;
  const ipa = sampleAddress(shape);
  const cases: Case[] = [];
  for (const level of levelsOf(shape)) {
    for (const { what, type, descriptor } of flawsAt(shape, level, good, S2.AF, denied)) {
      for (const s1ptw of [false, true]) {
        const guest = s1ptw ? guestWalkingAt(ipa) : { va: ipa, registers: {} };
        for (const [name, access, el] of ACCESSES) {
          cases.push({
            name: `${what} at level ${level}, ${name}${s1ptw ? " by way of a stage-1 descriptor" : ""}`,
            expected: { type, level, stage: 2, s1ptw, el: 2, access, va: guest.va, ipa },
            run(machine) {
              const root = place(machine, shape, ROOT2, ipa, level, descriptor);
              const registers = {
                ...stage2Registers(vtcrFor(shape, OUTPUT_BITS), root),
                ...guest.registers,
              };
              return machine.vcpu({ registers, el }).translate(guest.va, access);
            },
          });
        }
      }
    }
  }
  return cases;
}

/** Writes the tables down to a flaw. The root. */
function place(
  machine: Machine,
  shape: Shape,
  tables: typeof ROOT2,
  ia: number,
  level: Level,
  descriptor: Flaw["descriptor"],
): number {
  if (descriptor !== "hole") chain(machine, shape, tables, ia, level, descriptor);
  else if (level === shape.start) return HOLE;
  else chain(machine, shape, tables, ia, (level - 1) as Level, BigInt(HOLE) | TABLE);
  return tables.root;
}

// Stage 1 --------------------------------------------------------------------------------------------------------

export const STAGE1_SHAPES: readonly Shape[] = [
  { name: "4K/39", granule: "4K", start: 1, bits: 39 },
  { name: "4K/48", granule: "4K", start: 0, bits: 48 },
  { name: "4K/52", granule: "4K", start: -1, bits: 52, wide: true },
  { name: "4K/30", granule: "4K", start: 2, bits: 30 },
  { name: "4K/20", granule: "4K", start: 3, bits: 20 },
  { name: "16K/47", granule: "16K", start: 1, bits: 47 },
  { name: "16K/52", granule: "16K", start: 0, bits: 52, wide: true },
  { name: "64K/42", granule: "64K", start: 2, bits: 42 },
  { name: "64K/52", granule: "64K", start: 1, bits: 52, wide: true },
];

const REGIMES = ["TTBR0", "TTBR1", "EL2"] as const;
type Regime = (typeof REGIMES)[number];

/** Who accesses how, with the leaf that forbids it. Reads are forbidden to EL0 only. */
const DENIED: readonly [name: string, access: number, el: 0 | 1 | 2, bits: bigint][] = [
  ["read by EL0", Access.Read, 0, 0n],
  ["write by EL0", Access.Write, 0, S1.USER | S1.READ_ONLY],
  ["fetch by EL0", Access.Fetch, 0, S1.UXN],
  ["write by EL1", Access.Write, 1, S1.READ_ONLY],
  ["fetch by EL1", Access.Fetch, 1, S1.PXN],
  ["write by EL2", Access.Write, 2, S1.READ_ONLY],
  ["fetch by EL2", Access.Fetch, 2, S1.UXN],
];

function registersFor(shape: Shape, regime: Regime, root: number): Partial<Registers> {
  const tcrEl1 = tcrFor(shape, OUTPUT_BITS);
  switch (regime) {
    case "EL2":
      return { sctlrEl2: SCTLR.M, tcrEl2: tcrEl2For(shape, OUTPUT_BITS), ttbr0El2: BigInt(root) };
    case "TTBR0":
      return { sctlrEl1: SCTLR.M, tcrEl1, ttbr0El1: BigInt(root), ttbr1El1: BigInt(HOLE) };
    case "TTBR1":
      return { sctlrEl1: SCTLR.M, tcrEl1, ttbr1El1: BigInt(root), ttbr0El1: BigInt(HOLE) };
  }
}

/** Faults of stage 1, of both halves and of EL2; stage 2 is off. */
export function stage1Cases(shape: Shape): Case[] {
  const cases: Case[] = [];
  const ia = sampleAddress(shape);
  for (const regime of REGIMES) {
    const va = regime === "TTBR1" ? ia - 2 ** shape.bits : ia;
    for (const level of levelsOf(shape)) {
      for (const { what, type, descriptor } of flawsAt(shape, level, S1.AF, S1.AF, S1.AF)) {
        for (const [who, access, el, bits] of DENIED) {
          if ((el === 2) !== (regime === "EL2")) continue;
          const wrong = type === "permission" ? (descriptor as bigint) | bits : descriptor;
          const to = el === 2 ? 2 : 1;
          cases.push({
            name: `${what} at level ${level}, ${regime}, ${who}`,
            expected: { type, level, stage: 1, el: to, same: el > 0, access, va },
            run(machine) {
              const root = place(machine, shape, ROOT2, ia, level, wrong);
              const registers = { hcrEl2: HCR.RW, ...registersFor(shape, regime, root) };
              return machine.vcpu({ registers, el }).translate(va, access);
            },
          });
        }
      }
    }
  }
  return cases;
}
