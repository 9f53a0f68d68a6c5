/** Wrong versions of what keeps threads of one engine apart: invalidations, halves of words, locks, bounds, pages. */
import type { Mutant } from "../mutants.ts";
import { NO_COMPLETION, NO_GRACE } from "./edits.ts";

/** What reaches, or does not reach, the TLBs. */
export const invalidations: readonly Mutant[] = [
  {
    name: "flush-forgotten",
    what: "a flush of a range does nothing",
    file: "maintenance.ts",
    find: "log(pgt, FLUSH_CALLS, events.TLB_FLUSH_RANGE, 0, ipa, size);",
    replace: "if (MUTANT) return;\n  ORIGINAL",
  },
  {
    name: "invalidations-not-applied",
    what: "a vCPU translates without looking at the invalidation log",
    file: "vcpu/translate.ts",
    find: "if (d.hasTlb && head() != d.seen) applyInvalidations(v);",
    replace: "if (!MUTANT) { ORIGINAL }",
    also: [
      {
        file: "vcpu/translate.ts",
        find: "d.direct && head() == d.seen",
        replace: "(d.direct && MUTANT) || (ORIGINAL)",
      },
    ],
  },
  {
    name: "store-outside-section",
    what: "a store of a vCPU is made after the hardware section of its translation",
    file: "vcpu/index.ts",
    find: "export function vcpu_write(v: usize, va: f64, size: u32, value: f64): i32 {",
    replace:
      "ORIGINAL\n  if (MUTANT) return access.write(vcpu(v), signedWord(va), size, WRITE, signedWord(value), 0) ? 0 : code(vcpu(v));",
  },
];

/** What WebAssembly adds: halves, bounds, pages that come back. */
export const engineMutants: readonly Mutant[] = [
  {
    name: "torn-exchange",
    what: "an exchange decides on the low half and stores the high half afterwards",
    file: "slot.ts",
    find: "return atomic.cmpxchg<u64>(slot, old, next);",
    replace:
      "if (MUTANT) {\n    if (atomic.cmpxchg<u32>(slot, <u32>old, <u32>next) != <u32>old) return ~old;\n    atomic.store<u32>(slot, <u32>(next >> 32), 4);\n    return old;\n  }\n  ORIGINAL",
  },
  {
    name: "torn-make",
    what: "an entry is published by two stores of 32 bits",
    file: "slot.ts",
    find: "atomic.store<u64>(slot, next);",
    replace:
      "if (MUTANT) { atomic.store<u32>(slot, <u32>next); atomic.store<u32>(slot, <u32>(next >> 32), 4); } else ORIGINAL",
  },
  {
    name: "lock-taken-by-plain-store",
    what: "the write side is taken by a look and a store",
    file: "sync/lock.ts",
    find: "if (atomic.cmpxchg<u32>(lock, 0, thisThread() + 1, WRITER) != 0) return false;",
    replace:
      "if (MUTANT) { if (atomic.load<u32>(lock, WRITER) != 0) return false; atomic.store<u32>(lock, thisThread() + 1, WRITER); } else ORIGINAL",
  },
  {
    name: "unlock-by-whoever",
    what: "a writer that only tried leaves the lock free, whoever has it",
    file: "sync/lock.ts",
    find: "export function tryWrite(lock: usize): i32 {",
    replace:
      "ORIGINAL\n  if (MUTANT && atomic.load<u32>(lock, WRITER) != 0) { atomic.store<u32>(lock, 0, WRITER); return -EBUSY; }",
  },
  {
    name: "writer-ignores-readers",
    what: "a writer does not wait for the readers that are inside",
    file: "sync/lock.ts",
    find: "awaitReaders(lock);",
    replace: "MUTANT ? 0 : ORIGINAL",
  },
  {
    name: "bounds-not-checked",
    what: "a table is read wherever its address points",
    file: "vcpu/quick.ts",
    find: "offset < limit ?",
    replace: "MUTANT || ORIGINAL",
    also: [
      {
        file: "memory.ts",
        find: "pa - poolPhys < poolBytes() ? ",
        replace: "MUTANT || ORIGINAL",
      },
    ],
  },
  {
    name: "pages-not-cleared",
    what: "a freed page goes to the pool as it is",
    file: "pool.ts",
    find: "memory.fill(page, 0, <usize>pages << pageShift);",
    replace: "if (!MUTANT) ORIGINAL",
  },
  {
    name: "no-grace-period",
    what: "a page that went out of a tree goes to the pool at once",
    ...NO_GRACE,
    also: [NO_COMPLETION],
  },
  {
    name: "monitor-by-value",
    what: "the strict monitor compares values",
    file: "vcpu/monitor.ts",
    find: "const expected = d.monitorLow;",
    replace: "ORIGINAL\n  if (MUTANT) return exchange(pointer, size, expected, value);",
  },
];
