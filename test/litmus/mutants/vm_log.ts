/** Wrong versions of dirty logs and dirty rings. */
import type { Mutant } from "../mutants.ts";

const bitmaps: readonly Mutant[] = [
  {
    name: "log-flush-forgotten",
    what: "the log is handed out, and no TLB is told that its pages are protected now",
    file: "vm/log.ts",
    find: "log.taken ? flushTlb(",
    replace: "!MUTANT && ORIGINAL",
  },
  {
    name: "log-does-not-protect",
    what: "pages are taken out of the log and stay writable",
    file: "vm/log.ts",
    find: "protectPages(vm, log.base + (<u64>at << 6), taken)",
    replace: "(MUTANT ? 0 : ORIGINAL)",
  },
  {
    name: "protects-before-it-takes",
    what: "pages are protected, the lock is let go, and only then are they taken out of the log",
    file: "vm/log.ts",
    find: "const holds = lockTable(vm, WRITE_SIDE);",
    replace: "const holds = MUTANT ? 1 : lockTable(vm, WRITE_SIDE);",
    also: [
      {
        file: "vm/log.ts",
        find: "const taken = log.kind == CLEAR ? clearWord(",
        replace:
          "if (MUTANT) {\n      const early = atomic.load<u64>(slot);\n      if (early && lockTable(vm, WRITE_SIDE) == 0) {\n        protectPages(vm, log.base + (<u64>at << 6), early);\n        unlockTable(WRITE_SIDE);\n      }\n    }\n    ORIGINAL",
      },
      {
        file: "vm/log.ts",
        find: "protectPages(vm, log.base + (<u64>at << 6), taken)",
        replace: "(MUTANT ? 0 : ORIGINAL)",
      },
    ],
  },
  {
    name: "log-taken-by-plain-store",
    what: "a word of the log is read, and then set to zero",
    file: "vm/log.ts",
    find: "return atomic.load<u64>(slot) ? atomic.xchg<u64>(slot, 0) : 0;",
    replace:
      "if (MUTANT) {\n    const found = atomic.load<u64>(slot);\n    if (found) atomic.store<u64>(slot, 0);\n    return found;\n  }\n  ORIGINAL",
  },
  {
    name: "marked-by-plain-store",
    what: "a page is marked by a load and a store of its word",
    file: "vm/bitmap.ts",
    find: "return (atomic.or<u64>(word, bit) & bit) == 0;",
    replace:
      "if (MUTANT) {\n    const found = atomic.load<u64>(word);\n    atomic.store<u64>(word, found | bit);\n    return (found & bit) == 0;\n  }\n  ORIGINAL",
  },
  {
    name: "marks-outside-section",
    what: "whoever marks a page is in no section, so nobody waits with the freeing of its bitmap",
    file: "vm/bitmap.ts",
    find: "opened = enterWalk();\n  const found = findSlot(",
    replace: "opened = !MUTANT && enterWalk();\n  const found = findSlot(",
    also: [
      {
        file: "vm/bitmap.ts",
        find: "opened = enterWalk();\n  const found = readSlot(",
        replace: "opened = !MUTANT && enterWalk();\n  const found = readSlot(",
      },
    ],
  },
  {
    name: "bitmap-freed-at-once",
    what: "a bitmap is freed while others may be about to mark a page in it",
    file: "vm/bitmap.ts",
    find: "if (shared) retire(",
    replace: "if (shared && !MUTANT) retire(",
  },
  {
    name: "hidden-slots-not-logged",
    what: "a page of a slot that is about to move is not marked",
    file: "vm/bitmap.ts",
    find: "(flags & LOG_DIRTY) != 0",
    replace: "ORIGINAL && !(MUTANT && stateOfSlot == 2)",
    also: [
      {
        file: "vm/bitmap.ts",
        find: 'import { shared, UNIT_SHIFT } from "../layout";',
        replace: 'ORIGINAL\nimport { state as stateOfSlot } from "./slots";',
      },
    ],
  },
  {
    name: "harvest-forgets",
    what: "what hardware has listed is dropped",
    file: "vm/hdbss.ts",
    find: "if (value & 1 && !markLeaf(c.vm, c, value)) return index;",
    replace: "if (value & 1 && !MUTANT && !markLeaf(c.vm, c, value)) return index;",
  },
];

const rings: readonly Mutant[] = [
  {
    name: "ring-flag-before-entry",
    what: "an entry of the ring is said to be there before it is complete",
    file: "vm/ring.ts",
    find: "store<u32>(entry, slot, 4);",
    replace: "if (MUTANT) atomic.store<u32>(entry, DIRTY);\n  ORIGINAL",
  },
  {
    name: "reset-does-not-protect",
    what: "a reset frees entries and leaves their pages writable",
    file: "vm/ring_reset.ts",
    find: "if (windowFrom + 63 - clz<u64>(mask) >= pages || locks != 0) return;",
    replace: "if (MUTANT || windowFrom + 63 - clz<u64>(mask) >= pages || locks != 0) return;",
  },
  {
    name: "reset-flush-forgotten",
    what: "a reset protects pages and tells no TLB",
    file: "vm/ring_reset.ts",
    find: "if (total) vm.owesFlush = 1;",
    replace: "if (total && !MUTANT) vm.owesFlush = 1;",
  },
];

export const logMutants: readonly Mutant[] = [...bitmaps, ...rings];
