// @ts-check
/**
 * The instruction set of the machine, a row an instruction: how it is written, its 32 bits as the Arm ARM draws them
 * (C6.2), and what it does. The assembler reads the first two columns, the processor the last two.
 *
 *     bits           text       operand
 *     d m n s t u    Xd Wt      register; 31 is the zero register
 *     D N            XD XN      register; 31 is SP
 *     i h r k        #i #i*8    number; what is written, divided by 8
 *     j              #j*8       signed number
 *     o (then p)     @o*4       place in the program: its distance, in units of 4 bytes, signed (p: lowest bits)
 *     b c g          $g         one of NAMES
 *     {, ...}                   may be left out: 0
 */

/** CRn, CRm and op2 of a system register; op0 is 3 and op1 is 0. @type {(...numbers: number[]) => number} */
const system = (crn, crm, op2) => (crn << 7) | (crm << 3) | op2;

/** @type {Record<string, Record<string, number>>} */
// prettier-ignore
export const NAMES = {
  b: { ishst: 10, ish: 11, sy: 15 },
  c: { eq: 0, ne: 1, hs: 2, lo: 3, mi: 4, pl: 5, vs: 6, vc: 7, hi: 8, ls: 9, ge: 10, lt: 11, gt: 12, le: 13, al: 14 },
  g: {
    sctlr_el1: system(1, 0, 0), ttbr0_el1: system(2, 0, 0), ttbr1_el1: system(2, 0, 1), tcr_el1: system(2, 0, 2),
    spsr_el1: system(4, 0, 0), elr_el1: system(4, 0, 1), currentel: system(4, 2, 2), esr_el1: system(5, 2, 0),
    far_el1: system(6, 0, 0), par_el1: system(7, 4, 0), mair_el1: system(10, 2, 0), vbar_el1: system(12, 0, 0),
  },
};

/** @typedef {import("./cpu.mjs").Cpu} Cpu */
/** @typedef {Record<string, number>} Fields what the letters stand for; 32 is SP */
/** @typedef {(cpu: Cpu, fields: Fields) => void} Act */
/** @typedef {(a: bigint, b: bigint, cpu: Cpu) => bigint} Compute */

/** @type {(compute: Compute) => Act} */
const withRegister =
  (compute) =>
  (cpu, { d, n, m, i }) => {
    cpu.x[d] = compute(cpu.x[n], cpu.x[m] << BigInt(i), cpu);
  };
/** @type {(compute: Compute) => Act} */
const withNumber =
  (compute) =>
  (cpu, { D, d = D, N, i, h }) => {
    cpu.x[d] = compute(cpu.x[N], BigInt(i) << BigInt(12 * h), cpu);
  };
/** @type {Record<"plus" | "minus" | "plusFlags" | "minusFlags", Compute>} */
const { plus, minus, plusFlags, minusFlags } = {
  plus: (a, b) => a + b,
  minus: (a, b) => a - b,
  plusFlags: (a, b, cpu) => cpu.addWithCarry(a, b, 0n),
  minusFlags: (a, b, cpu) => cpu.addWithCarry(a, ~b, 1n),
};
/** @type {(move: (value: bigint, old: bigint, place: bigint) => bigint) => Act} */
const wide =
  (move) =>
  ({ x }, { d, i, h }) => {
    x[d] = move(BigInt(i) << BigInt(16 * h), x[d], 0xffffn << BigInt(16 * h));
  };
/** @type {(test: (cpu: Cpu, fields: Fields) => boolean) => Act} */
const branchIf = (test) => (cpu, fields) => {
  if (test(cpu, fields)) cpu.branch(fields.o);
};
/** @type {(size: 1 | 4 | 8) => Act} */
const load =
  (size) =>
  (cpu, { t, N, i }) =>
    cpu.load(size, t, cpu.x[N] + BigInt(i * size));
/** @type {(size: 1 | 4 | 8) => Act} */
const store =
  (size) =>
  (cpu, { t, N, i }) =>
    cpu.store(size, t, cpu.x[N] + BigInt(i * size));
/** Barriers have nothing to wait for: one processor, every access in order. */
const nothing = () => {};

/** @type {[text: string, bits: string, act: Act][]} */
// prettier-ignore
const ROWS = [
  ["nop",    "1101 0101 0000 0011 0010 0000 0001 1111", nothing],
  ["isb",    "1101 0101 0000 0011 0011 1111 1101 1111", nothing],
  ["dsb $b", "1101 0101 0000 0011 0011 bbbb 1001 1111", nothing],
  ["dmb $b", "1101 0101 0000 0011 0011 bbbb 1011 1111", nothing],
  ["wfi",    "1101 0101 0000 0011 0010 0000 0111 1111", (cpu) => cpu.trap("wfi")],

  ["movn Xd, #i{, lsl #h*16}", "1 00 100101 hh iiiiiiiiiiiiiiii ddddd", wide((value) => ~value)],
  ["movz Xd, #i{, lsl #h*16}", "1 10 100101 hh iiiiiiiiiiiiiiii ddddd", wide((value) => value)],
  ["movk Xd, #i{, lsl #h*16}", "1 11 100101 hh iiiiiiiiiiiiiiii ddddd", wide((value, x, mask) => (x & ~mask) | value)],
  ["adr Xd, @o*1",     "0 pp 10000 ooooooooooooooooooo ddddd", ({ x, pc }, { d, o }) => { x[d] = pc + BigInt(o); }],
  ["adrp Xd, @o*4096", "1 pp 10000 ooooooooooooooooooo ddddd", ({ x, pc }, { d, o }) => {
    x[d] = ((pc >> 12n) + BigInt(o)) << 12n;
  }],

  ["add XD, XN, #i{, lsl #h*12}",  "1 00 100010 h iiiiiiiiiiii NNNNN DDDDD", withNumber(plus)],
  ["adds Xd, XN, #i{, lsl #h*12}", "1 01 100010 h iiiiiiiiiiii NNNNN ddddd", withNumber(plusFlags)],
  ["sub XD, XN, #i{, lsl #h*12}",  "1 10 100010 h iiiiiiiiiiii NNNNN DDDDD", withNumber(minus)],
  ["subs Xd, XN, #i{, lsl #h*12}", "1 11 100010 h iiiiiiiiiiii NNNNN ddddd", withNumber(minusFlags)],
  ["add Xd, Xn, Xm{, lsl #i}",  "1 00 01011 000 mmmmm iiiiii nnnnn ddddd", withRegister(plus)],
  ["adds Xd, Xn, Xm{, lsl #i}", "1 01 01011 000 mmmmm iiiiii nnnnn ddddd", withRegister(plusFlags)],
  ["sub Xd, Xn, Xm{, lsl #i}",  "1 10 01011 000 mmmmm iiiiii nnnnn ddddd", withRegister(minus)],
  ["subs Xd, Xn, Xm{, lsl #i}", "1 11 01011 000 mmmmm iiiiii nnnnn ddddd", withRegister(minusFlags)],
  ["and Xd, Xn, Xm{, lsl #i}",  "1 00 01010 000 mmmmm iiiiii nnnnn ddddd", withRegister((a, b) => a & b)],
  ["orr Xd, Xn, Xm{, lsl #i}",  "1 01 01010 000 mmmmm iiiiii nnnnn ddddd", withRegister((a, b) => a | b)],
  ["eor Xd, Xn, Xm{, lsl #i}",  "1 10 01010 000 mmmmm iiiiii nnnnn ddddd", withRegister((a, b) => a ^ b)],
  ["ubfm Xd, Xn, #r, #k",       "1 10 100110 1 rrrrrr kkkkkk nnnnn ddddd", ({ x }, { d, n, r, k }) => {
    const low = BigInt.asUintN(k + 1, x[n]);
    x[d] = k >= r ? low >> BigInt(r) : low << BigInt(64 - r); // bits k to r go down, or bits k to 0 up
  }],

  ["b @o*4",        "000101 oooooooooooooooooooooooooo",     branchIf(() => true)],
  ["b.$c @o*4",     "01010100 ooooooooooooooooooo 0 cccc",   branchIf((cpu, { c }) => cpu.holds(c))],
  ["cbz Xt, @o*4",  "1 011010 0 ooooooooooooooooooo ttttt",  branchIf(({ x }, { t }) => x[t] === 0n)],
  ["cbnz Xt, @o*4", "1 011010 1 ooooooooooooooooooo ttttt",  branchIf(({ x }, { t }) => x[t] !== 0n)],
  ["bl @o*4",       "100101 oooooooooooooooooooooooooo",     (cpu, { o }) => { cpu.x[30] = cpu.next; cpu.branch(o); }],
  ["br Xn",         "1101011 0000 11111 000000 nnnnn 00000", (cpu, { n }) => { cpu.next = cpu.x[n]; }],
  ["ret Xn",        "1101011 0010 11111 000000 nnnnn 00000", (cpu, { n }) => { cpu.next = cpu.x[n]; }],

  ["str Xt, [XN{, #i*8}]",     "11 111 0 01 00 iiiiiiiiiiii NNNNN ttttt", store(8)],
  ["ldr Xt, [XN{, #i*8}]",     "11 111 0 01 01 iiiiiiiiiiii NNNNN ttttt", load(8)],
  ["str Wt, [XN{, #i*4}]",     "10 111 0 01 00 iiiiiiiiiiii NNNNN ttttt", store(4)],
  ["ldr Wt, [XN{, #i*4}]",     "10 111 0 01 01 iiiiiiiiiiii NNNNN ttttt", load(4)],
  ["strb Wt, [XN{, #i}]",      "00 111 0 01 00 iiiiiiiiiiii NNNNN ttttt", store(1)],
  ["ldrb Wt, [XN{, #i}]",      "00 111 0 01 01 iiiiiiiiiiii NNNNN ttttt", load(1)],
  ["stp Xt, Xu, [XN{, #j*8}]", "10 101 0 010 0 jjjjjjj uuuuu NNNNN ttttt", ({ x, vcpu, done }, { t, u, N, j }) => {
    done(vcpu.writePair(x[N] + BigInt(8 * j), [x[t], x[u]]));
  }],
  ["ldp Xt, Xu, [XN{, #j*8}]", "10 101 0 010 1 jjjjjjj uuuuu NNNNN ttttt", ({ x, vcpu, done }, { t, u, N, j }) => {
    [x[t], x[u]] = done(vcpu.readPair(x[N] + BigInt(8 * j)));
  }],
  ["ldxr Xt, [XN]", "11 001000 010 11111 0 11111 NNNNN ttttt", (cpu, { t, N }) => {
    cpu.x[t] = cpu.done(cpu.vcpu.loadExclusive(cpu.x[N], 8));
  }],
  ["stxr Ws, Xt, [XN]", "11 001000 000 sssss 0 11111 NNNNN ttttt", (cpu, { s, t, N }) => {
    cpu.x[s] = cpu.done(cpu.vcpu.storeExclusive(cpu.x[N], 8, cpu.x[t])) ? 0n : 1n;
  }],
  ["clrex", "1101 0101 0000 0011 0011 1111 0101 1111", (cpu) => cpu.vcpu.clearExclusive()],
  ["ldadd Xs, Xt, [XN]", "11 111 0 00 001 sssss 000000 NNNNN ttttt", (cpu, { s, t, N }) => {
    cpu.x[t] = cpu.done(cpu.vcpu.atomic("add", cpu.x[N], 8, cpu.x[s]));
  }],
  ["cas Xs, Xt, [XN]", "11 001000 101 sssss 0 11111 NNNNN ttttt", (cpu, { s, t, N }) => {
    cpu.x[s] = cpu.done(cpu.vcpu.compareAndSwap(cpu.x[N], 8, cpu.x[s], cpu.x[t]));
  }],

  ["svc #i",       "11010100 000 iiiiiiiiiiiiiiii 00001",     (cpu, { i }) => cpu.supervisorCall(i)],
  ["hvc #i",       "11010100 000 iiiiiiiiiiiiiiii 00010",     (cpu, { i }) => cpu.trap("hvc", i)],
  ["eret",         "1101 0110 1001 1111 0000 0011 1110 0000", (cpu) => cpu.exceptionReturn()],
  ["msr $g, Xt",   "1101 0101 0001 1000 ggggggggggg ttttt",   (cpu, { g, t }) => cpu.writeSystem(g, cpu.x[t])],
  ["mrs Xt, $g",   "1101 0101 0011 1000 ggggggggggg ttttt",   (cpu, { g, t }) => { cpu.x[t] = cpu.readSystem(g); }],
  ["tlbi vmalle1",  "1101 0101 0000 1000 1000 0111 000 11111", (cpu) => cpu.vcpu.tlbi("VMALLE1", { local: true })],
  ["tlbi vae1, Xt", "1101 0101 0000 1000 1000 0111 001 ttttt", (cpu, { t }) => cpu.invalidate(cpu.x[t])],
  ["at s1e1r, Xt",  "1101 0101 0000 1000 0111 1000 000 ttttt", (cpu, { t }) => cpu.translate(cpu.x[t])],
];

/** Whether numbers in the places of a letter have a sign; whether 31 there is SP. */
export const SIGNED = "jo";
export const STACK = "DN";

/** A row with its bits taken apart: where each letter stands, highest bit first, and what the other bits must be. */
export const INSTRUCTIONS = ROWS.map(([text, bits, act]) => {
  /** @type {Record<string, number[]>} */
  const places = {};
  let mask = 0;
  let value = 0;
  [...bits.replaceAll(" ", "")].forEach((letter, index) => {
    const bit = 31 - index;
    if (letter === "0" || letter === "1") {
      mask |= 1 << bit;
      value |= Number(letter) << bit;
    } else (places[letter] ??= []).push(bit);
  });
  const { p = [], ...others } = places;
  others.o?.push(...p);
  return { text, places: others, mask, value, act };
});

/** What an instruction word does, and with what; `undefined` if it is none of ours. @param {number} word */
export function decode(word) {
  const row = INSTRUCTIONS.find(({ mask, value }) => (word & mask) === value);
  if (!row) return undefined;
  /** @type {Fields} */
  const fields = {};
  for (const [letter, places] of Object.entries(row.places)) {
    const raw = places.reduce((sum, bit) => 2 * sum + ((word >>> bit) & 1), 0);
    const negative = SIGNED.includes(letter) && raw >= 2 ** (places.length - 1);
    fields[letter] = negative ? raw - 2 ** places.length : raw;
    if (STACK.includes(letter) && raw === 31) fields[letter] = 32;
  }
  return { act: row.act, fields };
}
