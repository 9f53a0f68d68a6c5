/**
 * Instructions of the example machine and the words that another assembler (LLVM 14, `llvm-mc --triple=aarch64
 * -mattr=+lse`) makes of them.
 */
export const WORDS: readonly [text: string, word: number][] = [
  ["nop", 0xd503201f],
  ["wfi", 0xd503207f],
  ["clrex", 0xd5033f5f],
  ["isb", 0xd5033fdf],
  ["dsb sy", 0xd5033f9f],
  ["dsb ish", 0xd5033b9f],
  ["dsb ishst", 0xd5033a9f],
  ["dmb ish", 0xd5033bbf],
  ["movn x3, #1", 0x92800023],
  ["movz x0, #0x4000, lsl #16", 0xd2a80000],
  ["movk x30, #0xffff, lsl #48", 0xf2fffffe],
  ["add x1, x2, #4095", 0x913ffc41],
  ["add sp, x21, #1, lsl #12", 0x914006bf],
  ["add x29, sp, #16", 0x910043fd],
  ["adds x4, x5, #1", 0xb10004a4],
  ["sub sp, sp, #32", 0xd10083ff],
  ["subs x6, x7, #8", 0xf10020e6],
  ["cmp x8, #37", 0xf100951f],
  ["cmp sp, #1", 0xf10007ff],
  ["add x1, x2, x3", 0x8b030041],
  ["add x2, x2, x1, lsl #3", 0x8b010c42],
  ["adds x9, x10, x11", 0xab0b0149],
  ["sub x12, x13, x14, lsl #63", 0xcb0efdac],
  ["subs x15, x16, x17", 0xeb11020f],
  ["cmp x18, x19", 0xeb13025f],
  ["and x1, x0, x1", 0x8a010001],
  ["orr x0, x0, x20", 0xaa140000],
  ["eor x22, x23, x24, lsl #5", 0xca1816f6],
  ["mov x25, x26", 0xaa1a03f9],
  ["ubfm x1, x2, #4, #11", 0xd3442c41],
  ["lsl x3, x4, #12", 0xd374cc83],
  ["lsr x5, x6, #26", 0xd35afcc5],
  ["br x17", 0xd61f0220],
  ["ret", 0xd65f03c0],
  ["ret x1", 0xd65f0020],
  ["str x0, [x1]", 0xf9000020],
  ["str x0, [x1, #32760]", 0xf93ffc20],
  ["ldr x9, [sp, #8]", 0xf94007e9],
  ["str w1, [x2, #4]", 0xb9000441],
  ["ldr w3, [x4, #16380]", 0xb97ffc83],
  ["strb w2, [x1]", 0x39000022],
  ["ldrb w2, [x0, #4095]", 0x397ffc02],
  ["stp x0, x1, [sp]", 0xa90007e0],
  ["stp x2, x3, [sp, #-512]", 0xa9200fe2],
  ["ldp x2, x3, [sp, #504]", 0xa95f8fe2],
  ["ldxr x2, [x21]", 0xc85f7ea2],
  ["stxr w3, x2, [x21]", 0xc8037ea2],
  ["ldadd x0, xzr, [x6]", 0xf82000df],
  ["cas x1, x2, [x3]", 0xc8a17c62],
  ["svc #0", 0xd4000001],
  ["svc #65535", 0xd41fffe1],
  ["hvc #1", 0xd4000022],
  ["eret", 0xd69f03e0],
  ["msr vbar_el1, x0", 0xd518c000],
  ["msr sctlr_el1, x1", 0xd5181001],
  ["msr tcr_el1, x2", 0xd5182042],
  ["msr ttbr0_el1, x3", 0xd5182003],
  ["msr ttbr1_el1, x4", 0xd5182024],
  ["msr mair_el1, x5", 0xd518a205],
  ["msr elr_el1, x6", 0xd5184026],
  ["msr spsr_el1, x7", 0xd5184007],
  ["mrs x0, esr_el1", 0xd5385200],
  ["mrs x1, far_el1", 0xd5386001],
  ["mrs x2, par_el1", 0xd5387402],
  ["mrs x3, currentel", 0xd5384243],
  ["tlbi vmalle1", 0xd508871f],
  ["tlbi vae1, x1", 0xd5088721],
  ["at s1e1r, x9", 0xd5087809],
];

/** Those that name a place: its distance in bytes, from the instruction (adrp: from its page). */
export const PLACES: readonly [text: string, distance: number, word: number][] = [
  ["adr x0, there", -4, 0x10ffffe0],
  ["adrp x7, there", 0x12345000, 0xb0091a27],
  ["b there", 8, 0x14000002],
  ["b there", -4, 0x17ffffff],
  ["bl there", -134217728, 0x96000000],
  ["b.eq there", 1048572, 0x547fffe0],
  ["b.lo there", -20, 0x54ffff63],
  ["b.le there", 16, 0x5400008d],
  ["cbz x2, there", 16, 0xb4000082],
  ["cbnz x3, there", -1048576, 0xb5800003],
];

/** No instructions of the machine: of the architecture, or of none. */
export const OTHERS: readonly number[] = [
  0x00000000, // udf #0
  0x0b020020, // add w0, w1, w2
  0x8b420020, // add x0, x1, x2, lsr #0
  0x927ff820, // and x0, x1, #-2
  0xd4200000, // brk #0
  0xc85ffc00, // ldaxr x0, [x0]
  0xffffffff,
];
