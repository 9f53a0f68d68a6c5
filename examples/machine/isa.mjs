// @ts-check
/**
 * The instruction set of the machine, a row an instruction: how it is written, its 32 bits as the Arm ARM draws them
 * (C6.2), and what it does. The assembler reads the first two columns, the processor the last two.
 *
 *     bits           text       operand
 *     d n m s t u    Xd Wt      register; 31 is the zero register
 *     D N            XD XN      register; 31 is SP
 *     i h r k        #i #i*8    number; stored divided by 8
 *     j              #j*8       signed number
 *     o (p)          @o*4       place in the program: its distance, in units of 4 bytes (p: low bits that stand apart)
 *     b c g          $g         one of NAMES
 *     {, ...}                   may be left out: 0
 */

/** A system register of EL1 by its numbers CRn, CRm, op2; op0 is 3 and op1 is 0. */
const register = (/** @type {number} */ crn, /** @type {number} */ crm, /** @type {number} */ op2) =>
  (crn << 7) | (crm << 3) | op2;

/** @type {Record<string, Record<string, number>>} */
// prettier-ignore
export const NAMES = {
  b: { ishst: 10, ish: 11, sy: 15 },
  c: { eq: 0, ne: 1, hs: 2, lo: 3, mi: 4, pl: 5, vs: 6, vc: 7, hi: 8, ls: 9, ge: 10, lt: 11, gt: 12, le: 13, al: 14 },
  g: {
    sctlr_el1: register(1, 0, 0), ttbr0_el1: register(2, 0, 0), ttbr1_el1: register(2, 0, 1), tcr_el1: register(2, 0, 2),
    spsr_el1: register(4, 0, 0), elr_el1: register(4, 0, 1), currentel: register(4, 2, 2), esr_el1: register(5, 2, 0),
    far_el1: register(6, 0, 0), par_el1: register(7, 4, 0), mair_el1: register(10, 2, 0), vbar_el1: register(12, 0, 0),
  },
};

/** @typedef {import("./cpu.mjs").Cpu} Cpu */
/** @typedef {Record<string, number>} Fields what the letters stand for; 32 is SP */
/** @typedef {[text: string, bits: string, act: (cpu: Cpu, fields: Fields) => void]} Row */

const shifted = (/** @type {Cpu} */ { x }, /** @type {Fields} */ { m, i }) => x[m] << BigInt(i);
const immediate = (/** @type {Fields} */ { i, h }) => BigInt(i) << BigInt(12 * h);
const at = (/** @type {Cpu} */ { x }, /** @type {Fields} */ { N, i = 0 }, scale = 1) =>
  x[N] + BigInt(i * scale);

/** @type {Row[]} */
// prettier-ignore
const ROWS = [
  ["nop",   "1101 0101 0000 0011 0010 0000 0001 1111", () => {}],
  ["wfi",   "1101 0101 0000 0011 0010 0000 0111 1111", (cpu) => cpu.trap("wfi")],
  ["clrex", "1101 0101 0000 0011 0011 1111 0101 1111", (cpu) => cpu.vcpu.clearExclusive()],
  // One processor, every access in order: barriers have nothing to wait for.
  ["isb",    "1101 0101 0000 0011 0011 1111 1101 1111", () => {}],
  ["dsb $b", "1101 0101 0000 0011 0011 bbbb 1001 1111", () => {}],
  ["dmb $b", "1101 0101 0000 0011 0011 bbbb 1011 1111", () => {}],

  ["movn Xd, #i{, lsl #h*16}", "1 00 100101 hh iiiiiiiiiiiiiiii ddddd", ({ x }, { d, i, h }) => { x[d] = ~(BigInt(i) << BigInt(16 * h)); }],
  ["movz Xd, #i{, lsl #h*16}", "1 10 100101 hh iiiiiiiiiiiiiiii ddddd", ({ x }, { d, i, h }) => { x[d] = BigInt(i) << BigInt(16 * h); }],
  ["movk Xd, #i{, lsl #h*16}", "1 11 100101 hh iiiiiiiiiiiiiiii ddddd", ({ x }, { d, i, h }) => {
    const place = BigInt(16 * h);
    x[d] = (x[d] & ~(0xffffn << place)) | (BigInt(i) << place);
  }],
  ["adr Xd, @o*1",     "0 pp 10000 ooooooooooooooooooo ddddd", ({ x, pc }, { d, o, p }) => { x[d] = pc + BigInt(4 * o + p); }],
  ["adrp Xd, @o*4096", "1 pp 10000 ooooooooooooooooooo ddddd", ({ x, pc }, { d, o, p }) => { x[d] = (pc & ~0xfffn) + BigInt(4 * o + p) * 4096n; }],

  ["add XD, XN, #i{, lsl #h*12}",  "1 0 0 100010 h iiiiiiiiiiii NNNNN DDDDD", ({ x }, f) => { x[f.D] = x[f.N] + immediate(f); }],
  ["adds Xd, XN, #i{, lsl #h*12}", "1 0 1 100010 h iiiiiiiiiiii NNNNN ddddd", (cpu, f) => { cpu.x[f.d] = cpu.add(cpu.x[f.N], immediate(f), 0n); }],
  ["sub XD, XN, #i{, lsl #h*12}",  "1 1 0 100010 h iiiiiiiiiiii NNNNN DDDDD", ({ x }, f) => { x[f.D] = x[f.N] - immediate(f); }],
  ["subs Xd, XN, #i{, lsl #h*12}", "1 1 1 100010 h iiiiiiiiiiii NNNNN ddddd", (cpu, f) => { cpu.x[f.d] = cpu.add(cpu.x[f.N], ~immediate(f), 1n); }],
  ["add Xd, Xn, Xm{, lsl #i}",     "1 0 0 01011 00 0 mmmmm iiiiii nnnnn ddddd", (cpu, f) => { cpu.x[f.d] = cpu.x[f.n] + shifted(cpu, f); }],
  ["adds Xd, Xn, Xm{, lsl #i}",    "1 0 1 01011 00 0 mmmmm iiiiii nnnnn ddddd", (cpu, f) => { cpu.x[f.d] = cpu.add(cpu.x[f.n], shifted(cpu, f), 0n); }],
  ["sub Xd, Xn, Xm{, lsl #i}",     "1 1 0 01011 00 0 mmmmm iiiiii nnnnn ddddd", (cpu, f) => { cpu.x[f.d] = cpu.x[f.n] - shifted(cpu, f); }],
  ["subs Xd, Xn, Xm{, lsl #i}",    "1 1 1 01011 00 0 mmmmm iiiiii nnnnn ddddd", (cpu, f) => { cpu.x[f.d] = cpu.add(cpu.x[f.n], ~shifted(cpu, f), 1n); }],
  ["and Xd, Xn, Xm{, lsl #i}",     "1 00 01010 00 0 mmmmm iiiiii nnnnn ddddd", (cpu, f) => { cpu.x[f.d] = cpu.x[f.n] & shifted(cpu, f); }],
  ["orr Xd, Xn, Xm{, lsl #i}",     "1 01 01010 00 0 mmmmm iiiiii nnnnn ddddd", (cpu, f) => { cpu.x[f.d] = cpu.x[f.n] | shifted(cpu, f); }],
  ["eor Xd, Xn, Xm{, lsl #i}",     "1 10 01010 00 0 mmmmm iiiiii nnnnn ddddd", (cpu, f) => { cpu.x[f.d] = cpu.x[f.n] ^ shifted(cpu, f); }],
  ["ubfm Xd, Xn, #r, #k",          "1 10 100110 1 rrrrrr kkkkkk nnnnn ddddd", ({ x }, { d, n, r, k }) => {
    const low = BigInt.asUintN(k + 1, x[n]);
    x[d] = k >= r ? low >> BigInt(r) : low << BigInt(64 - r); // take bits k..r down, or bits k..0 up
  }],

  ["b @o*4",       "000101 oooooooooooooooooooooooooo",     (cpu, { o }) => cpu.branch(o)],
  ["bl @o*4",      "100101 oooooooooooooooooooooooooo",     (cpu, { o }) => { cpu.x[30] = cpu.next; cpu.branch(o); }],
  ["b.$c @o*4",    "01010100 ooooooooooooooooooo 0 cccc",   (cpu, { o, c }) => { if (cpu.holds(c)) cpu.branch(o); }],
  ["cbz Xt, @o*4", "1 011010 0 ooooooooooooooooooo ttttt",  (cpu, { o, t }) => { if (cpu.x[t] === 0n) cpu.branch(o); }],
  ["cbnz Xt, @o*4","1 011010 1 ooooooooooooooooooo ttttt",  (cpu, { o, t }) => { if (cpu.x[t] !== 0n) cpu.branch(o); }],
  ["br Xn",        "1101011 0000 11111 000000 nnnnn 00000", (cpu, { n }) => { cpu.next = cpu.x[n]; }],
  ["ret Xn",       "1101011 0010 11111 000000 nnnnn 00000", (cpu, { n }) => { cpu.next = cpu.x[n]; }],

  ["str Xt, [XN{, #i*8}]",     "11 111 0 01 00 iiiiiiiiiiii NNNNN ttttt", (cpu, f) => cpu.store(8, f.t, at(cpu, f, 8))],
  ["ldr Xt, [XN{, #i*8}]",     "11 111 0 01 01 iiiiiiiiiiii NNNNN ttttt", (cpu, f) => cpu.load(8, f.t, at(cpu, f, 8))],
  ["str Wt, [XN{, #i*4}]",     "10 111 0 01 00 iiiiiiiiiiii NNNNN ttttt", (cpu, f) => cpu.store(4, f.t, at(cpu, f, 4))],
  ["ldr Wt, [XN{, #i*4}]",     "10 111 0 01 01 iiiiiiiiiiii NNNNN ttttt", (cpu, f) => cpu.load(4, f.t, at(cpu, f, 4))],
  ["strb Wt, [XN{, #i}]",      "00 111 0 01 00 iiiiiiiiiiii NNNNN ttttt", (cpu, f) => cpu.store(1, f.t, at(cpu, f))],
  ["ldrb Wt, [XN{, #i}]",      "00 111 0 01 01 iiiiiiiiiiii NNNNN ttttt", (cpu, f) => cpu.load(1, f.t, at(cpu, f))],
  ["stp Xt, Xu, [XN{, #j*8}]", "10 101 0 010 0 jjjjjjj uuuuu NNNNN ttttt", (cpu, { t, u, N, j }) => cpu.storePair(t, u, cpu.x[N] + BigInt(8 * j))],
  ["ldp Xt, Xu, [XN{, #j*8}]", "10 101 0 010 1 jjjjjjj uuuuu NNNNN ttttt", (cpu, { t, u, N, j }) => cpu.loadPair(t, u, cpu.x[N] + BigInt(8 * j))],
  ["ldxr Xt, [XN]",            "11 001000 010 11111 0 11111 NNNNN ttttt", (cpu, f) => { cpu.x[f.t] = cpu.done(cpu.vcpu.loadExclusive(at(cpu, f), 8)); }],
  ["stxr Ws, Xt, [XN]",        "11 001000 000 sssss 0 11111 NNNNN ttttt", (cpu, f) => {
    cpu.x[f.s] = cpu.done(cpu.vcpu.storeExclusive(at(cpu, f), 8, cpu.x[f.t])) ? 0n : 1n;
  }],
  ["ldadd Xs, Xt, [XN]",       "11 111 0 00 001 sssss 0000 00 NNNNN ttttt", (cpu, f) => { cpu.x[f.t] = cpu.done(cpu.vcpu.atomic("add", at(cpu, f), 8, cpu.x[f.s])); }],
  ["cas Xs, Xt, [XN]",         "11 001000 101 sssss 0 11111 NNNNN ttttt", (cpu, f) => {
    cpu.x[f.s] = cpu.done(cpu.vcpu.compareAndSwap(at(cpu, f), 8, cpu.x[f.s], cpu.x[f.t]));
  }],

  ["svc #i",            "11010100 000 iiiiiiiiiiiiiiii 00001", (cpu, { i }) => cpu.supervisorCall(i)],
  ["hvc #i",            "11010100 000 iiiiiiiiiiiiiiii 00010", (cpu, { i }) => cpu.trap("hvc", i)],
  ["eret",              "1101 0110 1001 1111 0000 0011 1110 0000", (cpu) => cpu.exceptionReturn()],
  ["msr $g, Xt",        "1101 0101 0001 1000 ggggggggggg ttttt", (cpu, { g, t }) => cpu.writeSystem(g, cpu.x[t])],
  ["mrs Xt, $g",        "1101 0101 0011 1000 ggggggggggg ttttt", (cpu, { g, t }) => { cpu.x[t] = cpu.readSystem(g); }],
  ["tlbi vmalle1",      "1101 0101 0000 1000 1000 0111 000 11111", ({ vcpu }) => vcpu.tlbi("VMALLE1", { local: true })],
  ["tlbi vae1, Xt",     "1101 0101 0000 1000 1000 0111 001 ttttt", (cpu, { t }) => cpu.invalidate(cpu.x[t])],
  ["at s1e1r, Xt",      "1101 0101 0000 1000 0111 1000 000 ttttt", (cpu, { t }) => { cpu.done(cpu.vcpu.at("S1E1R", cpu.x[t])); }],
];

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
  return { text, places, mask, value, act };
});

/** @type {Map<number, { act: Row[2], fields: Fields }>} */
const decoded = new Map();

/** What an instruction word does, and with what; `undefined` if it is none of ours. */
export function decode(/** @type {number} */ word) {
  const known = decoded.get(word);
  if (known) return known;
  const row = INSTRUCTIONS.find(({ mask, value }) => (word & mask) === value);
  if (!row) return undefined;
  /** @type {Fields} */
  const fields = {};
  for (const [letter, places] of Object.entries(row.places)) {
    const raw = places.reduce((sum, bit) => 2 * sum + ((word >>> bit) & 1), 0);
    const negative = "jo".includes(letter) && raw >= 2 ** (places.length - 1);
    fields[letter] = "DN".includes(letter) && raw === 31 ? 32 : raw - (negative ? 2 ** places.length : 0);
  }
  const found = { act: row.act, fields };
  decoded.set(word, found);
  return found;
}
