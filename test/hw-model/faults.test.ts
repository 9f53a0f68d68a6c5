/**
 * Every fault that a walk can end with: each type at each level, on the access itself, on a stage-1 descriptor, and of
 * stage 1; with the registers that tell of it. The last test says that nothing is missing.
 */
import { describe, expect, it } from "vitest";
import { Access, Fault, type FaultType } from "../../src/index.ts";
import { MODES } from "../support.ts";
import {
  type Case,
  type Expected,
  STAGE1_SHAPES,
  STAGE2_SHAPES,
  stage1Cases,
  stage2Cases,
} from "./fault-cases.ts";
import { OTHER_CASES } from "./fault-others.ts";
import { type Machine, machine } from "./machine.ts";

/** Status codes of levels -1 to 3. */
const LEVELLED: Partial<Record<FaultType, readonly (number | undefined)[]>> = {
  addressSize: [0x29, 0x00, 0x01, 0x02, 0x03],
  translation: [0x2b, 0x04, 0x05, 0x06, 0x07],
  accessFlag: [undefined, 0x08, 0x09, 0x0a, 0x0b],
  permission: [undefined, 0x0c, 0x0d, 0x0e, 0x0f],
  externalAbortOnWalk: [0x13, 0x14, 0x15, 0x16, 0x17],
};
/** Status codes of types without a level. */
const OTHERS: Partial<Record<FaultType, number>> = {
  externalAbort: 0x10,
  alignment: 0x21,
  tlbConflict: 0x30,
  unsupportedAtomicUpdate: 0x31,
};

function codeOf({ type, level }: Expected): number {
  const code = level === undefined ? OTHERS[type] : LEVELLED[type]?.[level + 1];
  if (code === undefined) throw new Error(`there is no code for ${type} at ${level}`);
  return code;
}

/** ESR: EC, IL, no ISV, CM, S1PTW, WnR, FSC. */
function syndromeOf(expected: Expected): bigint {
  const { access, same = false, s1ptw = false, at = false } = expected;
  const fetch = access === Access.Fetch;
  const { write = access === Access.Write } = expected;
  const ec = (fetch ? 0x20 : 0x24) + (same ? 1 : 0);
  const bit = (on: boolean, at: bigint) => (on ? 1n << at : 0n);
  const flags = bit(at, 8n) | bit(s1ptw, 7n) | bit(!fetch && (write || at), 6n);
  return (BigInt(ec) << 26n) | (1n << 25n) | flags | BigInt(codeOf(expected));
}

/** Runs a case and checks every word of the fault. */
function check(here: Machine, { name, expected, run }: Case): Fault {
  const fault = run(here) as Fault;
  here.next();
  expect(fault, name).toBeInstanceOf(Fault);
  const { type, level, stage, s1ptw = false, el, access, va, ipa } = expected;
  const found = {
    ...{ type: fault.type, level: fault.level, stage: fault.stage, s1ptw: fault.s1ptw },
    ...{ el: fault.el, fsc: fault.fsc, esr: fault.esr.toString(16), far: fault.far },
    ...{ fetch: fault.fetch, fromTlb: fault.fromTlb, hdbssFull: fault.hdbssFull },
  };
  expect(found, name).toEqual({
    ...{ type, level, stage, s1ptw, el, fsc: codeOf(expected) },
    ...{ esr: syndromeOf(expected).toString(16), far: BigInt.asUintN(64, BigInt(va)) },
    ...{ fetch: access === Access.Fetch, fromTlb: false, hdbssFull: false },
  });
  if (ipa !== undefined) {
    expect(fault.hpfar, name).toBe(BigInt(Math.floor(ipa / 0x1000)) << 4n);
    expect(fault.ipa, name).toBe(ipa);
  }
  if (stage === 1) expect(fault.ipa, name).toBeUndefined();
  return fault;
}

describe.each(MODES)("faults (%s)", (mode) => {
  const here = machine(mode);

  it.each(STAGE2_SHAPES)("of stage 2 with $name", (shape) => {
    for (const each of stage2Cases(shape)) check(here, each);
  });

  it.each(STAGE1_SHAPES)("of stage 1 with $name", (shape) => {
    for (const each of stage1Cases(shape)) check(here, each);
  });

  it.each(OTHER_CASES)("$name", (each) => {
    check(here, each);
  });

  it("are complete: every code at every stage, but for those that no walk here can end with", () => {
    const all = [
      ...STAGE2_SHAPES.flatMap(stage2Cases),
      ...STAGE1_SHAPES.flatMap(stage1Cases),
      ...OTHER_CASES,
    ];
    const produced: Record<string, Set<number>> = {
      direct: new Set(),
      walk: new Set(),
      stage1: new Set(),
    };
    for (const { run } of all) {
      const { stage, s1ptw, fsc } = run(here) as Fault;
      here.next();
      (produced[stage === 1 ? "stage1" : s1ptw ? "walk" : "direct"] as Set<number>).add(fsc);
    }
    const codes = (set: Set<number> | undefined) => [...(set as Set<number>)].sort((a, b) => a - b);
    const every = Array.from({ length: 64 }, (_, code) => code);
    for (const [form, set] of Object.entries(produced)) {
      const missing = UNREACHABLE.filter(([, , where]) => where.includes(form as Form)).map(
        ([code]) => code,
      );
      expect(codes(set), form).toEqual(every.filter((code) => !missing.includes(code)));
    }
  });
});

type Form = "direct" | "walk" | "stage1";
const ALL: readonly Form[] = ["direct", "walk", "stage1"];
const between = (first: number, last: number, why: string): [number, string, readonly Form[]][] =>
  Array.from({ length: last - first + 1 }, (_, i) => [first + i, why, ALL]);

/** Codes that are not to be had: of the access itself at stage 2, on a stage-1 descriptor, of stage 1. */
const UNREACHABLE: readonly (readonly [code: number, why: string, where: readonly Form[]])[] = [
  [
    0x10,
    "what lies at the final address is no matter of stage 2; on a walk it is 0x13 to 0x17",
    ["direct", "walk"],
  ],
  [0x11, "no memory tagging", ALL],
  [0x12, "reserved", ALL],
  ...between(0x18, 0x1f, "memory has no parity and no ECC"),
  [0x20, "reserved", ALL],
  [0x21, "descriptors are aligned", ["walk"]],
  [0x22, "reserved", ALL],
  ...between(0x23, 0x28, "no granule protection (FEAT_RME)"),
  [0x2a, "no translation tables of that kind: level -2 of 128-bit descriptors", ALL],
  [0x2c, "level -2", ALL],
  [0x2d, "reserved", ALL],
  [0x2e, "reserved", ALL],
  [0x2f, "reserved", ALL],
  ...between(
    0x32,
    0x3f,
    "implementation defined, or of short descriptors; 0x35: our memory takes exclusives",
  ),
];
