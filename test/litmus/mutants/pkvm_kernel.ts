/** Wrong versions of what the host's kernel keeps of a guest: its mappings, and the lock around them. */
import type { Mutant } from "../mutants.ts";

export const kernelMutants: readonly Mutant[] = [
  {
    name: "mappings-lock-removed",
    what: "nothing keeps apart two threads that change the mappings of a guest",
    file: "pkvm/el1/map.ts",
    find: "let result = locks ? lockWrite(e.lock) : 0;",
    replace: "let result = locks && !MUTANT ? lockWrite(e.lock) : 0;",
    also: [
      {
        file: "pkvm/el1/range.ts",
        find: "if (!e.machine.has(MAPPINGS_LOCK)) return 0;",
        replace: "if (MUTANT) return 0;\n  ORIGINAL",
      },
    ],
  },
  {
    name: "faults-under-read-side",
    what: "faults take the read side of the mmu_lock, and mappings have no other lock",
    file: "pkvm/el1/operate.ts",
    find: "return pgt.has(OWN_LOCK) ? READ_SIDE : WRITE_SIDE;",
    replace: "return MUTANT || pgt.has(OWN_LOCK) ? READ_SIDE : WRITE_SIDE;",
  },
  {
    name: "ages-without-mmu-lock",
    what: "mappings are aged one by one while others change them",
    file: "pkvm/el1/operate.ts",
    find: "enter(pgt, AGING)",
    replace: "(MUTANT ? begin(pgt, 0 /* NO_LOCK */) : ORIGINAL)",
  },
  {
    name: "ages-under-no-lock",
    what: "mappings that have a lock of their own are aged under none",
    file: "pkvm/el1/operate.ts",
    find: "enter(pgt, AGING)",
    replace: "(MUTANT ? begin(pgt, 0 /* NO_LOCK */) : ORIGINAL)",
    also: [
      {
        file: "pkvm/el1/range.ts",
        find: "if (!e.machine.has(MAPPINGS_LOCK)) return 0;",
        replace: "if (MUTANT) return 0;\n  ORIGINAL",
      },
    ],
  },
  {
    name: "protects-without-mmu-lock",
    what: "mappings are write-protected one by one while others change them",
    file: "pkvm/el1/operate.ts",
    find: "const refused = enter(pgt, WRITE_SIDE);\n  if (refused != 0) return refused;\n  return end(pgt, protectGuest(pgt, ia, size));",
    replace:
      "const refused = enter(pgt, MUTANT ? 0 /* NO_LOCK */ : WRITE_SIDE);\n  if (refused != 0) return refused;\n  return end(pgt, protectGuest(pgt, ia, size));",
  },
  {
    name: "looks-without-lock",
    what: "a mapping is looked up while others change the tree",
    file: "pkvm/el1/operate.ts",
    find: "const refused = enter(pgt, READ_SIDE);\n  if (refused != 0) return refused;\n  return end(pgt, describeBehind(pgt, ia));",
    replace:
      "const refused = enter(pgt, MUTANT ? 0 /* NO_LOCK */ : READ_SIDE);\n  if (refused != 0) return refused;\n  return end(pgt, describeBehind(pgt, ia));",
  },
  {
    name: "map-overlooks-blocks",
    what: "a page is mapped where a block is, and the block stays written down",
    file: "pkvm/el1/map.ts",
    find: "eraseHere(e.mappings);",
    replace: "if (MUTANT) break;\n    ORIGINAL",
  },
];
