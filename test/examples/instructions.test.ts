import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
// @ts-expect-error the example is JavaScript
import { assemble, encode } from "../../examples/machine/assemble.mjs";
// @ts-expect-error the example is JavaScript
import { INSTRUCTIONS, decode } from "../../examples/machine/isa.mjs";
import { type Stopped, BASE, bareMachine } from "./bare.ts";
import { OTHERS, PLACES, WORDS } from "./encodings.ts";

vi.mock("stage2", () => import("../../src/index.ts"));

interface Instruction {
  readonly text: string;
  readonly places: Readonly<Record<string, readonly number[]>>;
  readonly mask: number;
  readonly value: number;
  readonly act: unknown;
}
const ROWS: readonly Instruction[] = INSTRUCTIONS;
const [MAX, MIN, ONES] = [2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
const SAMPLES = [0n, 1n, 2n, MAX, MIN, MIN + 1n, ONES - 1n, ONES];

describe("encodings", () => {
  it.each(WORDS)("%s", (text, word) => {
    expect(encode(text).toString(16)).toBe(word.toString(16));
  });

  it.each(PLACES)("%s, %i bytes on", (text, distance, word) => {
    const labels = { there: BASE + distance };
    expect(encode(text, BASE, labels).toString(16)).toBe(word.toString(16));
  });

  it("are checked for every instruction of the table", () => {
    const words = [...WORDS.map(([, word]) => word), ...PLACES.map(([, , word]) => word)];
    const acts = new Set(words.map((word) => decode(word)?.act));
    expect(ROWS.filter(({ act }) => !acts.has(act)).map(({ text }) => text)).toEqual([]);
  });

  it("take 32 bits each, and no word is two instructions", () => {
    for (const [index, a] of ROWS.entries()) {
      const letters = Object.values(a.places).flat();
      const fixed = [...(a.mask >>> 0).toString(2)].filter((bit) => bit === "1").length;
      expect([a.text, fixed + letters.length]).toEqual([a.text, 32]);
      for (const b of ROWS.slice(index + 1)) {
        expect([a.text, b.text, a.mask & b.mask & (a.value ^ b.value)]).not.toContain(0);
      }
    }
  });

  it.each(OTHERS)("leave the word %i alone", (word) => {
    expect(decode(word)).toBeUndefined();
  });

  it.each([
    "add x0, x1, #4096",
    "add x0, x1",
    "add xzr, x1, #1",
    "add x0, sp, x1",
    "ldr x0, [x1, #4]",
    "ldr x0, [x31]",
    "movz x0, #1, lsl #8",
    "stp x0, x1, [sp, #512]",
    "b nowhere",
    "dsb everywhere",
    "mul x0, x1, x2",
    "msr sp_el0, x0",
  ])("refuse %s", (text) => {
    expect(() => encode(text)).toThrow(SyntaxError);
  });

  it("put data, labels and alignment where they belong", () => {
    const { image, labels } = assemble(
      `a: nop // comment\n .asciz "hi\\n"\n .balign 16\nb: .skip 4\nc: b a`,
      BASE,
    );
    expect(labels).toEqual({ a: BASE, b: BASE + 16, c: BASE + 20 });
    expect([...image.slice(4, 8)]).toEqual([0x68, 0x69, 0x0a, 0]);
    expect([...image.slice(20)]).toEqual([0xfb, 0xff, 0xff, 0x17]);
  });
});

describe("on the processor", () => {
  let machine: Awaited<ReturnType<typeof bareMachine>>;
  beforeAll(async () => {
    machine = await bareMachine();
  });
  afterAll(() => machine.engine.dispose());
  const run = (program: string, ...values: bigint[]): Stopped => machine.run(program, ...values);

  it.each<[bigint, bigint, bigint, string]>([
    [0n, 0n, 0n, "-Z--"],
    [1n, 1n, 2n, "----"],
    [ONES, 1n, 0n, "-ZC-"],
    [MAX, 1n, MIN, "N--V"],
    [MIN, MIN, 0n, "-ZCV"],
    [MIN, ONES, MAX, "--CV"],
    [ONES, ONES, ONES - 1n, "N-C-"],
  ])("adds %i + %i", (a, b, sum, flags) => {
    const { x, nzcv } = run("adds x2, x0, x1\n hvc #0", a, b);
    expect([x[2], letters(nzcv)]).toEqual([sum, flags]);
  });

  it.each<[bigint, bigint, bigint, string]>([
    [0n, 0n, 0n, "-ZC-"],
    [5n, 3n, 2n, "--C-"],
    [3n, 5n, ONES - 1n, "N---"],
    [0n, 1n, ONES, "N---"],
    [MIN, 1n, MAX, "--CV"],
    [MAX, ONES, MIN, "N--V"],
    [0n, MIN, MIN, "N--V"],
  ])("subs %i - %i", (a, b, difference, flags) => {
    const { x, nzcv } = run("subs x2, x0, x1\n hvc #0", a, b);
    expect([x[2], letters(nzcv)]).toEqual([difference, flags]);
  });

  it("branches on each condition when it holds, and only then", () => {
    const s = (value: bigint) => BigInt.asIntN(64, value);
    const conditions: Record<string, (a: bigint, b: bigint) => boolean> = {
      eq: (a, b) => a === b,
      ne: (a, b) => a !== b,
      hs: (a, b) => a >= b,
      lo: (a, b) => a < b,
      hi: (a, b) => a > b,
      ls: (a, b) => a <= b,
      ge: (a, b) => s(a) >= s(b),
      lt: (a, b) => s(a) < s(b),
      gt: (a, b) => s(a) > s(b),
      le: (a, b) => s(a) <= s(b),
      mi: (a, b) => s(a - b) < 0n,
      pl: (a, b) => s(a - b) >= 0n,
      vs: (a, b) => s(a) - s(b) !== s(a - b),
      vc: (a, b) => s(a) - s(b) === s(a - b),
      al: () => true,
    };
    for (const [name, holds] of Object.entries(conditions)) {
      const program = `cmp x0, x1\n b.${name} yes\n hvc #0\nyes: movz x2, #1\n hvc #0`;
      for (const a of SAMPLES) {
        for (const b of SAMPLES) {
          expect([name, a, b, run(program, a, b).x[2]]).toEqual([
            name,
            a,
            b,
            holds(a, b) ? 1n : 0n,
          ]);
        }
      }
    }
  });

  it.each<[string, (a: bigint, b: bigint) => bigint]>([
    ["add x2, x0, x1, lsl #3", (a, b) => a + 8n * b],
    ["sub x2, x0, x1, lsl #60", (a, b) => a - 2n ** 60n * b],
    ["and x2, x0, x1", (a, b) => a & b],
    ["orr x2, x0, x1, lsl #1", (a, b) => a | (2n * b)],
    ["eor x2, x0, x1", (a, b) => a ^ b],
    ["mov x2, x1", (_, b) => b],
    ["lsl x2, x0, #12", (a) => a * 4096n],
    ["lsl x2, x0, #0", (a) => a],
    ["lsr x2, x0, #63", (a) => a / 2n ** 63n],
    ["ubfm x2, x0, #4, #11", (a) => (a / 16n) % 256n],
    ["ubfm x2, x0, #60, #3", (a) => (a % 16n) * 16n],
    ["add x2, x0, #1, lsl #12", (a) => a + 4096n],
    ["movn x2, #1, lsl #16", () => -1n - 0x1_0000n],
    ["mov x2, x0\n movk x2, #0xabcd, lsl #48", (a) => (a % 2n ** 48n) + 0xabcdn * 2n ** 48n],
    ["mov x2, xzr\n adds xzr, x0, #1\n mov x2, xzr", () => 0n],
  ])("computes %s", (text, expected) => {
    for (const a of SAMPLES) {
      for (const b of SAMPLES) {
        expect(run(`${text}\n hvc #0`, a, b).x[2]).toBe(BigInt.asUintN(64, expected(a, b)));
      }
    }
  });

  it("loads what it stored, in the size asked for", () => {
    const { x } = run(
      `adr x1, data
       str x0, [x1]
       strb w0, [x1, #8]
       ldr w2, [x1, #4]
       ldrb w3, [x1, #7]
       ldp x4, x5, [x1]
       str w0, [x1]
       stp x5, x4, [x1, #16]
       ldr x6, [x1, #16]
       hvc #0
       .balign 8
data:  .skip 32`,
      0x0123_4567_89ab_cdefn,
    );
    expect([...x.slice(2, 7)]).toEqual([0x0123_4567n, 0x01n, 0x0123_4567_89ab_cdefn, 0xefn, 0xefn]);
  });

  it("swaps and adds atomically, and stores exclusively only with a reservation", () => {
    const { x } = run(
      `adr x1, data
       movz x2, #5
       ldadd x2, x3, [x1]
       cas x2, x0, [x1]     // x2 is what was there: 5 + 7
       cas x2, x0, [x1]
       stxr w4, x0, [x1]
       ldxr x5, [x1]
       stxr w6, x3, [x1]
       ldxr x7, [x1]
       clrex
       stxr w8, x0, [x1]
       ldr x9, [x1]
       hvc #0
       .balign 8
data:  .asciz "\\u0007"
       .skip 6`,
      99n,
    );
    expect(
      Object.fromEntries([...x.slice(2, 10)].map((value, index) => [index + 2, value])),
    ).toEqual({
      2: 12n, // the first compare failed and loaded 12, the second matched
      3: 7n,
      4: 1n,
      5: 99n,
      6: 0n,
      7: 7n,
      8: 1n,
      9: 7n,
    });
  });

  it("calls, returns, and counts a loop", () => {
    const { x, retired, labels } = run(
      `movz x0, #3
again: bl more
       sub x0, x0, #1
       cbnz x0, again
       adr x2, end
       br x2
       movz x1, #0
end:   hvc #0
more:  add x1, x1, #7
       ret`,
    );
    expect([x[1], retired, x[30]]).toEqual([21n, 1 + 3 * 5 + 2 + 1, BigInt(labels.again! + 4)]);
  });

  it("takes SVC from EL0 and EL1 to its vectors, and returns with the flags it had", () => {
    const { x, nzcv, labels } = run(
      `       adr x0, vectors
        msr vbar_el1, x0
        cmp xzr, xzr             // flags: Z, C
        svc #7
inside: mrs x8, currentel
        adr x0, user
        msr elr_el1, x0
        msr spsr_el1, xzr
        eret
user:   svc #42
        .balign 2048
vectors: .skip 512
        mrs x1, esr_el1
        mrs x2, elr_el1
        mrs x3, spsr_el1
        adds x7, x1, x1          // clears the flags
        eret
        .balign 1024
        mrs x4, esr_el1
        mrs x5, elr_el1
        mrs x6, spsr_el1
        hvc #0`,
    );
    expect([...x.slice(1, 7)]).toEqual([
      0x5600_0007n,
      BigInt(labels.inside!),
      0x6000_0005n,
      0x5600_002an,
      BigInt(labels.user! + 4),
      0n,
    ]);
    expect([x[8], letters(nzcv)]).toEqual([4n, "----"]);
  });

  it("ends with an error where there is no instruction, and where there is no end", () => {
    expect(() => run(".skip 4")).toThrow("no instruction: 0x0, at 0x10000000");
    expect(() => run("a: b a")).toThrow("no end in 1000 steps");
  });
});

function letters(nzcv: bigint): string {
  return [..."NZCV"]
    .map((letter, index) => ((nzcv >> BigInt(3 - index)) & 1n ? letter : "-"))
    .join("");
}
