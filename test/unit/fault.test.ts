/** Faults and syndromes as values: what their bits mean, in fields and in words. */
import { describe, expect, it } from "vitest";
import { FAULT_FLAG } from "../../src/_abi.ts";
import { Fault, decodeSyndrome, describeSyndrome } from "../../src/index.ts";
import type { FaultRecord } from "../../src/fault.ts";
import { errorOf } from "../support.ts";

/** A stage-2 translation fault of a write at level 3. */
const WRITE: FaultRecord = {
  fsc: 0x07,
  stage: 2,
  flags: FAULT_FLAG.WRITE | FAULT_FLAG.TO_EL2,
  esr: (0x24n << 26n) | (1n << 25n) | (1n << 6n) | 0x07n,
  far: 0xffff_8000_0000_1234n,
  hpfar: 0x8000_0010n,
  ipa: 0x80_0000_1234n,
};

const fault = (changes: Partial<FaultRecord> = {}): Fault => new Fault({ ...WRITE, ...changes });

describe("a fault", () => {
  it("says what a record says", () => {
    expect(fault()).toMatchObject({
      ...{ type: "translation", fsc: 7, level: 3, stage: 2, s1ptw: false, write: true },
      ...{ fetch: false, el: 2, ipa: 0x80_0000_1234, esr: WRITE.esr, far: WRITE.far },
      ...{ hpfar: WRITE.hpfar, hdbssFull: false, dirtyBit: false, fromTlb: false },
    });
    expect(fault().va).toBe(WRITE.far);
  });

  const codes: [number, string, number | undefined][] = [
    ...[0, 1, 2, 3].map((level): [number, string, number] => [level, "addressSize", level]),
    ...[0, 1, 2, 3].map((level): [number, string, number] => [4 + level, "translation", level]),
    ...[0, 1, 2, 3].map((level): [number, string, number] => [8 + level, "accessFlag", level]),
    ...[0, 1, 2, 3].map((level): [number, string, number] => [12 + level, "permission", level]),
    ...[-1, 0, 1, 2, 3].map((level): [number, string, number] => [
      0x14 + level,
      "externalAbortOnWalk",
      level,
    ]),
    [0x29, "addressSize", -1],
    [0x2b, "translation", -1],
    [0x10, "externalAbort", undefined],
    [0x21, "alignment", undefined],
    [0x30, "tlbConflict", undefined],
    [0x31, "unsupportedAtomicUpdate", undefined],
    [0x35, "unsupportedExclusive", undefined],
  ];
  it.each(codes)("with status 0x%s is of its type and level", (fsc, type, level) => {
    expect(fault({ fsc })).toMatchObject({ type, level });
    expect(decodeSyndrome((0x24n << 26n) | BigInt(fsc)).abort).toMatchObject({ fsc, type, level });
  });

  it("with a status that no walk gives is an error of the core", () => {
    expect(() => fault({ fsc: 0x3f })).toThrow(RangeError);
  });

  it.each([
    ["s1ptw", FAULT_FLAG.S1PTW],
    ["fetch", FAULT_FLAG.FETCH],
    ["hdbssFull", FAULT_FLAG.HDBSSF],
    ["dirtyBit", FAULT_FLAG.DIRTY_BIT],
    ["fromTlb", FAULT_FLAG.FROM_TLB],
  ] as const)("has %s for its flag alone", (name, flag) => {
    expect(fault({ flags: WRITE.flags | flag })[name]).toBe(true);
    expect(fault({ flags: ~flag })[name]).toBe(false);
  });

  it("of stage 1 is taken to EL1 and has no IPA", () => {
    const first = fault({ stage: 1, flags: FAULT_FLAG.WRITE, hpfar: 0n, ipa: 0n });
    expect(first).toMatchObject({ stage: 1, el: 1, ipa: undefined });
  });

  it("has no IPA where HPFAR_EL2 is poisoned, and has IPA 0 where it is 0", () => {
    expect(fault({ hpfar: 0xdead_def0n }).ipa).toBeUndefined();
    expect(fault({ hpfar: 0n, ipa: 0x18n }).ipa).toBe(0x18);
  });

  it("reads as a sentence", () => {
    expect(String(fault())).toBe(
      "translation fault, stage 2 level 3, write at VA 0xffff800000001234, IPA 0x8000001234; " +
        "taken to EL2 (ESR 0x92000047)",
    );
    const flags = FAULT_FLAG.S1PTW | FAULT_FLAG.FETCH | FAULT_FLAG.TO_EL2 | FAULT_FLAG.FROM_TLB;
    expect(String(fault({ flags, fsc: 0x0f }))).toMatch(
      /^permission fault, stage 2 level 3, fetch at .*\(a stage-1 descriptor\), decided on a TLB entry;/,
    );
    expect(String(fault({ fsc: 0x30 }))).toMatch(/^TLB conflict abort, stage 2, write/);
    const full = FAULT_FLAG.HDBSSF | FAULT_FLAG.TO_EL2;
    expect(String(fault({ flags: full }))).toContain("dirty-state buffer full");
    const described = fault().withSyndrome({ size: 2, register: 9 });
    expect(String(described)).toContain("2 bytes, register 9;");
  });
});

describe("the instruction in the syndrome", () => {
  const ISV_FIELDS = 0x7ffn << 14n;

  it("has the fields of the access, and changes nothing else", () => {
    const shape = { size: 4, signExtend: true, register: 30, sixtyFour: true } as const;
    const told = fault().withSyndrome({ ...shape, acquireRelease: true });
    expect(told.esr & ~ISV_FIELDS).toBe(WRITE.esr);
    // ISV, SAS 10, SSE, SRT 30, SF, AR
    expect((told.esr >> 14n) & 0x7ffn).toBe(0b1_10_1_11110_1_1n);
    expect(decodeSyndrome(told.esr).abort?.access).toEqual({ ...shape, acquireRelease: true });
    expect(told).toMatchObject({ type: "translation", ipa: fault().ipa, far: WRITE.far });
  });

  it.each([1, 2, 4, 8] as const)("of %i bytes comes back", (size) => {
    const { access } = decodeSyndrome(fault().withSyndrome({ size }).esr).abort!;
    const usual = { signExtend: false, register: 0, acquireRelease: false };
    expect(access).toEqual({ size, sixtyFour: size === 8, ...usual });
  });

  it("replaces the one that was told before", () => {
    const first = fault().withSyndrome({ size: 8, register: 31, acquireRelease: true });
    expect(first.withSyndrome({ size: 1 }).esr).toBe(fault().withSyndrome({ size: 1 }).esr);
  });

  it("is told only for data aborts of stage 2 to EL2 that are the access itself", () => {
    const without: Partial<FaultRecord>[] = [
      { flags: WRITE.flags | FAULT_FLAG.S1PTW },
      { flags: WRITE.flags | FAULT_FLAG.CM },
      { flags: FAULT_FLAG.WRITE },
      { stage: 1, flags: FAULT_FLAG.WRITE, esr: (0x25n << 26n) | 7n },
      { stage: 1, esr: (0x25n << 26n) | 7n },
      { flags: FAULT_FLAG.FETCH | FAULT_FLAG.TO_EL2, esr: (0x20n << 26n) | 7n },
    ];
    for (const changes of without) {
      const plain = fault(changes);
      expect(plain.withSyndrome({ size: 4 }), JSON.stringify(changes, show)).toBe(plain);
    }
    expect(fault().withSyndrome({ size: 4 }).esr).not.toBe(WRITE.esr); // the control
  });

  it("must be one that there is", () => {
    const bad: object[] = [
      {},
      { size: 3 },
      { size: 16 },
      { size: 4, register: 32 },
      { size: 4, register: -1 },
      { size: 8, signExtend: true },
      { size: 8, sixtyFour: false },
      { size: 4, signExtend: 1 },
      { size: 4, sign: true },
    ];
    for (const shape of bad) {
      expect(errorOf(() => fault().withSyndrome(shape as never)).code).toBe("BAD_OPTION");
    }
  });
});

describe("a syndrome", () => {
  it("of an abort is decoded, bit by bit", () => {
    const iss = (1n << 10n) | (1n << 8n) | (1n << 7n) | (1n << 6n) | 0x0fn;
    const iss2 = (1n << 11n) | (1n << 5n);
    const abort = { kind: "data", lower: true, fsc: 15, type: "permission", level: 3 };
    const flags = { s1ptw: true, write: true, cacheMaintenance: true, farInvalid: true };
    expect(decodeSyndrome((iss2 << 32n) | (0x24n << 26n) | (1n << 25n) | iss)).toEqual({
      ...{ ec: 0x24, class: "data abort from a lower level", il: true },
      ...{ iss: Number(iss), iss2: Number(iss2) },
      abort: { ...abort, ...flags, hdbssFull: true, dirtyBit: true, access: undefined },
    });
  });

  it("of an instruction abort has no fields of data aborts", () => {
    const iss = (1n << 24n) | (1n << 8n) | (1n << 6n) | 0x05n;
    const { abort } = decodeSyndrome((0x21n << 26n) | iss);
    expect(abort).toMatchObject({
      kind: "instruction",
      lower: false,
      type: "translation",
      level: 1,
    });
    expect(abort).toMatchObject({ write: false, cacheMaintenance: false, access: undefined });
  });

  it("of another class keeps its ISS", () => {
    expect(decodeSyndrome((0x16n << 26n) | 7n)).toMatchObject({ iss: 7, abort: undefined });
    expect(describeSyndrome((0x16n << 26n) | 7n)).toBe("HVC in AArch64 (ISS 0x7)");
    expect(describeSyndrome(0x3fn << 26n)).toBe("exception class 0x3f (ISS 0x0)");
  });

  it("reads as a sentence", () => {
    const cases: [bigint, string][] = [
      [WRITE.esr, "data abort from a lower level: translation fault, level 3, write"],
      [
        fault().withSyndrome({ size: 4, signExtend: true, register: 31 }).esr,
        "data abort from a lower level: translation fault, level 3, write, 4 bytes sign-extended, WZR",
      ],
      [
        fault().withSyndrome({ size: 8, register: 3, acquireRelease: true }).esr,
        "data abort from a lower level: translation fault, level 3, write, 8 bytes, X3, acquire-release",
      ],
      [
        (0x24n << 26n) | 0x87n,
        "data abort from a lower level: translation fault, level 3, on a stage-1 descriptor, read",
      ],
      [(0x20n << 26n) | 0x10n, "instruction abort from a lower level: external abort"],
      [(0x25n << 26n) | 0x3fn, "data abort from the same level: status 0x3f, read"],
      [
        (1n << 43n) | (0x24n << 26n) | 0x4fn,
        "data abort from a lower level: permission fault, level 3, write, dirty-state buffer full or not writable",
      ],
    ];
    for (const [esr, words] of cases) expect(describeSyndrome(esr)).toBe(words);
  });

  it("must have 64 bits", () => {
    for (const esr of [-1n, 2n ** 64n, 5, undefined]) {
      expect(errorOf(() => decodeSyndrome(esr as never)).code).toBe("BAD_OPTION");
      expect(errorOf(() => describeSyndrome(esr as never)).code).toBe("BAD_OPTION");
    }
  });
});

function show(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `0x${value.toString(16)}` : value;
}
