// @ts-check
/**
 * The guest: a program without an operating system. It turns its MMU on, counts pages, repairs a fault of its own, and
 * prints a line. Pages that it never wrote are zero.
 *
 *     guest address   what
 *     0x0900_0000     the UART
 *     0x4000_0000     this program and its vectors
 *     0x4000_1000     its level-1 table: 0 to 1 GiB device, the second GiB itself, 4 GiB on through the tables below
 *     0x4000_2000     level 2      0x4000_3000, 0x4000_4000   level 3
 *     0x4000_5000     counter, sum, and a stack from the end downwards
 *     0x4001_0000     four pages, which it sees at 0x1_0000_0000; a fifth at 0x1_0020_0000
 */
export const RAM = 0x4000_0000;
export const UART = 0x0900_0000;
export const DATA = 0x4000_5000;
export const WINDOW = 0x4001_0000;
export const PAGES = 4;
export const MESSAGE = "hello";

/** Calls to the hypervisor. */
export const CALL = { DONE: 0, AGE: 1, FAILED: 2 };

export const PROGRAM = `
start:  movz  x20, #0x4000, lsl #16     // x20: where RAM begins
        add   x21, x20, #5, lsl #12     // x21: the data page
        add   sp, x21, #1, lsl #12
        adr   x0, vectors
        msr   vbar_el1, x0

        // ---- tables; the MMU is off, so addresses are what they are ----
        add   x1, x20, #1, lsl #12
        movz  x0, #0x405                // a block: device, accessed
        movk  x0, #0x60, lsl #48        // never executed
        str   x0, [x1]
        movz  x0, #0x701                // a block: normal memory, shareable, accessed
        orr   x0, x0, x20
        str   x0, [x1, #8]
        add   x2, x20, #2, lsl #12
        add   x0, x2, #3                // a table
        str   x0, [x1, #32]
        add   x3, x20, #3, lsl #12
        add   x0, x3, #3
        add   x4, x20, #4, lsl #12
        add   x5, x4, #3                // a table that nobody has written yet: all zero
        stp   x0, x5, [x2]
        movz  x0, #0x4001, lsl #16
        add   x0, x0, #0x703            // a page: normal memory, shareable, accessed
        movz  x5, #0
fill:   str   x0, [x3]
        add   x3, x3, #8
        add   x0, x0, #1, lsl #12
        add   x5, x5, #1
        cmp   x5, #${PAGES}
        b.lo  fill

        // ---- MMU on ----
        movz  x0, #0x04ff               // attributes 0: write-back memory, 1: device
        msr   mair_el1, x0
        movz  x0, #0x3519               // 39-bit addresses, 4 KiB pages
        movk  x0, #0x80, lsl #16        // no upper half
        msr   tcr_el1, x0
        msr   ttbr0_el1, x1
        tlbi  vmalle1
        dsb   ish
        isb
        mrs   x0, sctlr_el1
        movz  x1, #0x1005               // M, C, I
        orr   x0, x0, x1
        msr   sctlr_el1, x0
        isb

        // ---- count pages, twice; the hypervisor ages the memory in between ----
        bl    count
        hvc   #${CALL.AGE}
        bl    count

        // ---- a page that is in no table: "fault" below puts it there ----
        movz  x9, #1, lsl #32
        movk  x9, #0x20, lsl #16
        movz  x0, #0x1234
        str   x0, [x9]
        at    s1e1r, x9                 // where is it now?
        isb
        mrs   x19, par_el1

        adr   x0, message
        bl    print
        hvc   #${CALL.DONE}
        b     failed

        // ---- count: adds its number to every page of the window, each to the sum, one to the counter ----
count:  movz  x1, #1, lsl #32
        movz  x5, #1
page:   ldr   x0, [x1]
        add   x0, x0, x5
        str   x0, [x1]
again:  ldxr  x2, [x21]
        add   x2, x2, #1
        stxr  w3, x2, [x21]
        cbnz  x3, again                 // somebody, or a fault, came between
        add   x4, x21, #8
        ldadd x0, xzr, [x4]
        add   x1, x1, #1, lsl #12
        add   x5, x5, #1
        cmp   x5, #${PAGES}
        b.ls  page
        ret

        // ---- print: the text at x0 ----
print:  movz  x1, #0x0900, lsl #16
next:   ldrb  w2, [x0]
        cbz   x2, printed
        strb  w2, [x1]
        add   x0, x0, #1
        b     next
printed: ret

failed: hvc   #${CALL.FAILED}
message: .asciz "${MESSAGE}\\n"

        // ---- vectors: of the sixteen, this program needs "synchronous, from EL1" ----
        .balign 2048
vectors: .skip 512
fault:  sub   sp, sp, #32
        stp   x0, x1, [sp]
        stp   x2, x3, [sp, #16]
        mrs   x0, esr_el1
        lsr   x0, x0, #26
        cmp   x0, #0x25                 // a load or store of EL1?
        b.ne  failed
        mrs   x0, far_el1
        lsr   x0, x0, #12               // number of the page
        movz  x1, #0x1ff
        and   x1, x0, x1
        add   x2, x20, #4, lsl #12
        add   x2, x2, x1, lsl #3        // its entry
        movz  x3, #0x4001, lsl #16
        add   x3, x3, #${PAGES}, lsl #12
        add   x3, x3, #0x703
        str   x3, [x2]
        dsb   ishst
        tlbi  vae1, x0
        dsb   ish
        isb
        ldp   x2, x3, [sp, #16]
        ldp   x0, x1, [sp]
        add   sp, sp, #32
        eret
`;
