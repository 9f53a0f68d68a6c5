/** Wrong versions of how software changes an entry under hardware: the exchange itself, and aging. */
import type { Mutant } from "../mutants.ts";

const PLAIN = "(MUTANT ? (store<u64>(slot, next), false) : ORIGINAL)";
const STALE = "(MUTANT ? (slots.compareExchange(slot, slots.read(slot), next), false) : ORIGINAL)";

/** The store of attribute changes. */
export const exchanges: readonly Mutant[] = [
  {
    name: "plain-store-single",
    what: "the short way stores the new entry without looking what is there by then",
    file: "single.ts",
    find: "slots.compareExchange(slot, old, next) != old",
    replace: PLAIN,
  },
  {
    name: "stale-compare-single",
    what: "the short way compares with what it reads just before the store, not with what it decided on",
    file: "single.ts",
    find: "slots.compareExchange(slot, old, next) != old",
    replace: STALE,
  },
  {
    name: "plain-store-walked",
    what: "the walk stores the new entry without looking what is there by then",
    file: "walk.ts",
    find: "slots.update(slot, old, next, this.pgt.has(NON_ATOMIC)) != old",
    replace: PLAIN,
  },
  {
    name: "stale-compare-walked",
    what: "the walk compares with what it reads just before the store, not with what it decided on",
    file: "walk.ts",
    find: "slots.update(slot, old, next, this.pgt.has(NON_ATOMIC)) != old",
    replace: STALE,
  },
  {
    name: "plain-store-run",
    what: "ranges store the new entry without looking what is there by then",
    file: "run.ts",
    find: "slots.compareExchange(slot, old, old & ~bit)",
    replace: "(MUTANT ? (store<u64>(slot, old & ~bit), old) : ORIGINAL)",
  },
  {
    name: "stale-compare-run",
    what: "ranges compare with what they read just before the store, not with what they decided on",
    file: "run.ts",
    find: "slots.compareExchange(slot, old, old & ~bit)",
    replace:
      "(MUTANT ? (slots.compareExchange(slot, slots.read(slot), old & ~bit), old) : ORIGINAL)",
  },
  {
    name: "run-gives-up",
    what: "a range operation passes over an entry that hardware changed under it",
    file: "run.ts",
    find: "old = found; // lost to hardware or another thread",
    replace: "if (MUTANT) return false; ORIGINAL",
  },
  {
    name: "exclusive-gives-up",
    what: "write protection passes over an entry that hardware changed under it",
    file: "visit/protect.ts",
    find: "if (this.shared) return -EAGAIN;",
    replace: "if (MUTANT) return -EAGAIN;\n      ORIGINAL",
  },
  {
    name: "protect-unlocked-plain-store",
    what: "write protection takes no lock, and stores without looking what is there by then",
    file: "operate.ts",
    find: "export function writeProtect(pgt: Pgt, ia: u64, size: u64): i32 {",
    replace: "ORIGINAL\n  if (MUTANT) return protect.writeProtect(pgt, ia, size);",
    also: [
      {
        file: "walk.ts",
        find: "slots.update(slot, old, next, this.pgt.has(NON_ATOMIC)) != old",
        replace: PLAIN,
      },
    ],
  },
];

/** Taking an entry away. */
export const takings: readonly Mutant[] = [
  {
    name: "unmap-plain-store",
    what: "unmapping one page stores zero without looking what is there by then",
    file: "single.ts",
    find: "slots.compareExchange(slot, old, 0) != old",
    replace: "(MUTANT ? (store<u64>(slot, 0), false) : ORIGINAL)",
  },
  {
    name: "unmap-plain-store-walked",
    what: "a walk that unmaps stores zero without looking what is there by then",
    file: "replace.ts",
    find: "slots.compareExchange(slot, old, 0);",
    replace: "MUTANT ? (store<u64>(slot, 0), old) : ORIGINAL",
  },
  {
    name: "break-plain-store",
    what: "a break stores the marker without looking what is there by then",
    file: "slot.ts",
    find: "old != LOCKED && compareExchange(slot, old, LOCKED) == old",
    replace: "(MUTANT ? (store<u64>(slot, LOCKED), true) : ORIGINAL)",
  },
];

/** Aging. */
export const agingMutants: readonly Mutant[] = [
  {
    name: "aging-by-blind-and-single",
    what: "the short way clears by a blind AND and reports what it had read before",
    file: "single.ts",
    find: "next != old && slots.compareExchange(slot, old, next) != old",
    replace: "(MUTANT && !set ? (atomic.and<u64>(slot, ~clear), false) : ORIGINAL)",
  },
  {
    name: "aging-by-blind-and-run",
    what: "ranges clear every entry by a blind AND and report what they had read before",
    file: "run.ts",
    find: "let old = slots.read(slot);",
    replace:
      "ORIGINAL\n  if (MUTANT && old & VALID) { atomic.and<u64>(slot, ~bit); return (old & bit) != 0; }",
    also: [
      {
        file: "run.ts",
        find: "let hits = slots.matching8(slot, bits, bits);",
        replace: "ORIGINAL\n    if (MUTANT) hits = 0xff;",
      },
    ],
  },
  {
    name: "aging-by-blind-and-walked",
    what: "the walk clears by a blind AND and reports what it had read before",
    file: "visit/age.ts",
    find: "while (isValid(old) && old & AF) {",
    replace:
      "if (MUTANT && isValid(old)) { atomic.and<u64>(slot, ~AF); if (old & AF) this.young = true; return 0; }\n    ORIGINAL",
  },
  {
    name: "aging-tells-the-last-walked",
    what: "the answer is that of the last entry visited",
    file: "visit/age.ts",
    find: "while (isValid(old) && old & AF) {",
    replace: "if (MUTANT) this.young = false;\n    ORIGINAL",
  },
  {
    name: "aging-tells-the-last-run",
    what: "the answer is that of the last entry of the stretch",
    file: "run.ts",
    find: "if (clearBit(slot, bit)) any = true;",
    replace: "if (MUTANT) any = clearBit(slot, bit); else ORIGINAL",
  },
  {
    name: "aging-clears-a-pair",
    what: "the neighbour in the same 16 bytes is cleared with the entry",
    file: "run.ts",
    find: "if (clearBit(slot, bit)) any = true;",
    replace: "if (MUTANT) clearBit(slot ^ 8, bit);\n      ORIGINAL",
  },
  {
    name: "mkyoung-adds-write",
    what: "making young also makes writable",
    file: "visit/protect.ts",
    find: "changeSingle(pgt, ia, AF, 0)",
    replace: "(MUTANT ? changeSingle(pgt, ia, AF | S2AP_W, 0) : ORIGINAL)",
  },
  {
    name: "mkyoung-flushes",
    what: "making young invalidates TLB entries, which cannot hold an old page",
    file: "visit/protect.ts",
    find: "const old = visited().old;",
    replace: "if (MUTANT) tlbiIpaLocal(pgt, ia, LEVEL_UNKNOWN);\n  ORIGINAL",
  },
  {
    name: "mkyoung-unlocked-plain-store",
    what: "making young takes no lock and no section, and stores without looking what is there by then",
    file: "operate.ts",
    find: "export function makeYoung(pgt: Pgt, ia: u64): i32 {",
    replace: "ORIGINAL\n  if (MUTANT) return protect.makeYoung(pgt, ia);",
    also: [
      { file: "single.ts", find: "slots.compareExchange(slot, old, next) != old", replace: PLAIN },
    ],
  },
];
