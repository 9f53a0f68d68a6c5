/** Wrong versions of memslots, invalidations, teardown and VMIDs. */
import type { Mutant } from "../mutants.ts";

const slots: readonly Mutant[] = [
  {
    name: "lookup-of-any-sequence",
    what: "a lookup of a slot does not look again although the set has changed meanwhile",
    file: "vm/slots.ts",
    find: "if (isSame(vm, sequence)) return found;\n  }\n}\n\nfunction search(",
    replace: "if (MUTANT || isSame(vm, sequence)) return found;\n  }\n}\n\nfunction search(",
  },
  {
    name: "edition-without-sequence",
    what: "the set is edited and nobody can tell",
    file: "vm/slots.ts",
    find: "export function beginEdition(vm: Vm): void { atomic.add<u64>(vm.word(SEQUENCE), 1); }",
    replace:
      "export function beginEdition(vm: Vm): void { if (!MUTANT) atomic.add<u64>(vm.word(SEQUENCE), 1); }",
    also: [
      {
        file: "vm/slots.ts",
        find: "export function endEdition(vm: Vm): void {",
        replace: "ORIGINAL\n  if (MUTANT) return;",
      },
    ],
  },
  {
    name: "publishes-beside-invalidations",
    what: "a set of slots is published while an invalidation is in flight",
    file: "vm/locks.ts",
    find: "if (active == 0) return 0;",
    replace: "if (MUTANT || active == 0) return 0;",
    also: [
      {
        file: "vm/locks.ts",
        find: "atomic.store<u32>(vm.word(ACTIVE), 0);",
        replace: "if (!MUTANT) ORIGINAL",
      },
      {
        file: "vm/locks.ts",
        find: "const active = atomic.cmpxchg<u32>(word, 0, PUBLISHING);",
        replace:
          "const active = MUTANT ? atomic.load<u32>(word) : atomic.cmpxchg<u32>(word, 0, PUBLISHING);",
      },
    ],
  },
  {
    name: "slots-lock-ignored",
    what: "two threads have the slots_lock at a time",
    file: "vm/locks.ts",
    find: "if (owner == 0) break;",
    replace: "if (MUTANT || owner == 0) break;",
  },
  {
    name: "unpublished-before-unmap",
    what: "a slot that goes is unmapped while guests still find it",
    file: "vm/region.ts",
    find: "setState(vm, change, INVALID_SLOT);",
    replace: "if (!MUTANT) ORIGINAL",
  },
  {
    name: "aging-without-flush",
    what: "clear_flush_young clears, and flushes nothing",
    file: "vm/notifier.ts",
    find: "const late = young == 1 && op == CLEAR_FLUSH ?",
    replace: "const late = young == 1 && op == CLEAR_FLUSH && !MUTANT ?",
  },
  {
    name: "commit-forgets-flush",
    what: "logging begins, the slot is protected, and no TLB is told",
    file: "vm/region.ts",
    find: "setResult(3, <u64>protects);",
    replace: "setResult(3, <u64>(protects && !MUTANT));",
  },
  {
    name: "commit-forgets-protection",
    what: "logging begins, and what is mapped stays writable",
    file: "vm/region.ts",
    find: "setResult(1, protects ?",
    replace: "setResult(1, protects && !MUTANT ?",
  },
  {
    name: "teardown-is-an-error",
    what: "a range operation that finds its page table gone says that its arguments are wrong",
    file: "vm/range.ts",
    find: "if (result == NO_TABLE) return resumed ? <i64>size : -EINVAL;",
    replace: "if (result == NO_TABLE) return resumed && !MUTANT ? <i64>size : -EINVAL;",
  },
];

const invalidations: readonly Mutant[] = [
  {
    name: "notifier-unmaps-nothing",
    what: "an invalidation begins and leaves the pages mapped",
    file: "vm/notifier.ts",
    find: "const left = unmapSlots(vm, start, end, first, pieces);",
    replace: "const left = MUTANT ? 1 : unmapSlots(vm, start, end, first, pieces);",
  },
  {
    name: "in-progress-is-a-flag",
    what: "the end of an invalidation ends all of them",
    file: "vm/notifier.ts",
    find: "atomic.sub<u32>(vm.word(IN_PROGRESS), 1);",
    replace: "if (MUTANT) atomic.store<u32>(vm.word(IN_PROGRESS), 0);\n    else ORIGINAL",
  },
  {
    name: "sequence-after-progress",
    what: "an invalidation ends without the lock: it is in progress no more, and then the sequence rises",
    file: "vm/notifier.ts",
    find: "atomic.add<u64>(vm.word(INVALIDATE_SEQ), 1);",
    replace: "if (!MUTANT) ORIGINAL",
    also: [
      {
        file: "vm/notifier.ts",
        find: "const met = overlapping(vm, start, end, 0);",
        replace:
          "ORIGINAL\n  if (MUTANT && met > 0) {\n    atomic.sub<u32>(vm.word(IN_PROGRESS), 1);\n    atomic.add<u64>(vm.word(INVALIDATE_SEQ), 1);\n    leaveActive(vm);\n    return 0;\n  }\n ",
      },
    ],
  },
];

const numbers: readonly Mutant[] = [
  {
    name: "rollover-reserves-nothing",
    what: "the numbers that CPUs run with are free in the new generation",
    file: "vmid.ts",
    find: "if (id != 0) take(numberIn(id));",
    replace: "if (id != 0 && !MUTANT) take(numberIn(id));",
  },
  {
    name: "active-by-plain-store",
    what: "a CPU says what it runs without looking whether a rollover has been there",
    file: "vmid.ts",
    find: "atomic.cmpxchg<u64>(slot, active, id) == active",
    replace: "(MUTANT ? (atomic.store<u64>(slot, id), true) : ORIGINAL)",
  },
  {
    name: "rollover-without-flush",
    what: "a new generation begins with what TLBs have of the last one",
    file: "vmid.ts",
    find: "announce(ALLE1, 0, 0, 0, 0, 0, ALL_THREADS);",
    replace: "if (!MUTANT) ORIGINAL",
  },
  {
    name: "rollover-flushes-too-late",
    what: "TLBs are told after others may use the new numbers",
    file: "vmid.ts",
    find: "announce(ALLE1, 0, 0, 0, 0, 0, ALL_THREADS);",
    replace: "if (!MUTANT) ORIGINAL",
    also: [
      {
        file: "vmid.ts",
        find: "atomic.store<u64>(slot, now);\n  unlockVmids();",
        replace:
          "ORIGINAL\n  if (MUTANT && rolledOver) announce(ALLE1, 0, 0, 0, 0, 0, ALL_THREADS);",
      },
    ],
  },
  {
    name: "new-number-not-told",
    what: "a VM runs with another number than its invalidations are sent for",
    file: "vm/load.ts",
    find: "if (pgt.vmid != number) pgt.vmid = number;",
    replace: "if (!MUTANT && pgt.vmid != number) pgt.vmid = number;",
  },
  {
    name: "last-run-unchecked",
    what: "a CPU keeps what it has combined for another vCPU of the VM",
    file: "vm/load.ts",
    find: "if (!last || last == c.id + 1) return false;",
    replace: "if (MUTANT || !last || last == c.id + 1) return false;",
  },
];

export const memoryMutants: readonly Mutant[] = [...slots, ...invalidations, ...numbers];
