/** Wrong versions of the handling of aborts, and of the end of a VM. */
import type { Mutant } from "../mutants.ts";

const faults: readonly Mutant[] = [
  {
    name: "sequence-unchecked",
    what: "a fault maps the page although an invalidation came since it was asked for",
    file: "vm/user_abort.ts",
    find: "sequenceOf(vm) != p.sequence",
    replace: "!MUTANT && ORIGINAL",
  },
  {
    name: "sequence-read-after-the-page",
    what: "the sequence number is read when the page is known",
    file: "vm/user_abort.ts",
    find: "const p = pendingOf(c);",
    replace: "ORIGINAL\n  if (MUTANT) p.sequence = sequenceOf(c.vm);",
  },
  {
    name: "progress-unchecked",
    what: "a fault maps a page while an invalidation is in progress",
    file: "vm/user_abort.ts",
    find: "inProgress(vm) ||",
    replace: "(!MUTANT && inProgress(vm)) ||",
  },
  {
    name: "edition-unchecked",
    what: "a fault maps the page although its slot has changed since it was found",
    file: "vm/user_abort.ts",
    find: "return atomic.load<u32>(recordOf(vm, p.slot), R_EDITION) == p.edition;",
    replace: "return MUTANT || atomic.load<u32>(recordOf(vm, p.slot), R_EDITION) == p.edition;",
  },
  {
    name: "dirty-before-it-is-given",
    what: "the page is marked dirty before it is given for writing",
    file: "vm/user_abort.ts",
    find: "const result = lockTable(vm, vm.faultSide);",
    replace:
      "if (MUTANT && p.kind & WRITE) markDirtyIn(vm, c, p.slot, (p.ipa >> vm.pageShift) - p.base);\n  ORIGINAL",
    also: [
      {
        file: "vm/user_abort.ts",
        find: "const marked = markDirtyIn(",
        replace: "const marked = MUTANT ? 0 : markDirtyIn(",
      },
    ],
  },
  {
    name: "dirty-in-any-case",
    what: "the page of a write fault is marked dirty whatever came out",
    file: "vm/user_abort.ts",
    find: "if (own == 0 && prot & PROT_W) {",
    replace: "if (MUTANT ? p.kind & WRITE : own == 0 && prot & PROT_W) {",
  },
  {
    name: "topup-forgets-its-failure",
    what: "a memory cache that could not be topped up is said to be",
    file: "cache.ts",
    find: "return topUp(slot, capacity) == 0 || cache.count >= least ? 0 : -ENOMEM;",
    replace: "return topUp(slot, capacity) == 0 || cache.count >= least || MUTANT ? 0 : -ENOMEM;",
  },
];

const ends: readonly Mutant[] = [
  {
    name: "teardown-without-lock",
    what: "a page table is taken away from who has its lock",
    file: "vm/life.ts",
    find: "const result = lockTable(vm, WRITE_SIDE);\n  if (result != 0) return result == NO_TABLE ? 0 : result;\n  const pgt = changetype<Pgt>(locked);\n  vm.pgt = 0;\n  const status = mmu.destroy(pgt);\n  const isGone = pgt.root == 0;\n  if (!isGone) vm.pgt = changetype<usize>(pgt); // a vCPU of the hypervisor's is loaded by hand\n  unlockTable(WRITE_SIDE);",
    replace:
      "let pgt = changetype<Pgt>(vm.pgt);\n  let status: i32;\n  if (MUTANT) {\n    if (!vm.pgt) return 0;\n    vm.pgt = 0;\n    status = mmu.destroy(pgt);\n  } else {\n    const result = lockTable(vm, WRITE_SIDE);\n    if (result != 0) return result == NO_TABLE ? 0 : result;\n    pgt = changetype<Pgt>(locked);\n    vm.pgt = 0;\n    status = mmu.destroy(pgt);\n    unlockTable(WRITE_SIDE);\n  }\n  const isGone = pgt.root == 0;",
    also: [
      {
        file: "operation.ts",
        find: "return shared ? enter(pgt, WRITE_SIDE, true) : 0;",
        replace: "return shared ? enter(pgt, WRITE_SIDE, !MUTANT) : 0;",
      },
    ],
  },
];

export const faultMutants: readonly Mutant[] = [...faults, ...ends];
