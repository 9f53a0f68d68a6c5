/** Wrong versions of what edits page tables: mapping, break-before-make, tables that come and go, permissions. */
import type { Mutant } from "../mutants.ts";

const mapping: readonly Mutant[] = [
  {
    name: "map-by-plain-store",
    what: "map stores its entry without looking whether the place is still empty",
    file: "single.ts",
    find: "if (slots.compareExchange(slot, 0, leaf) == 0) return 0;",
    replace: "if (MUTANT) { atomic.store<u64>(slot, leaf); return 0; }\n  ORIGINAL",
    also: [
      {
        file: "visit/map.ts",
        find: "slots.compareExchange(slot, old, next) == old",
        replace: "(MUTANT ? (atomic.store<u64>(slot, next), true) : ORIGINAL)",
      },
    ],
  },
  {
    name: "count-kept-on-lost-race",
    what: "who loses the race for an entry keeps the reference that it had counted for it",
    file: "single.ts",
    find: "pool.dropReferences(page, 1); // lost",
    replace: "if (!MUTANT) ORIGINAL",
  },
  {
    name: "lost-table-kept",
    what: "who loses the race for a table does not give its own page back",
    file: "visit/map.ts",
    find: "discardPage(this.pgt, table);",
    replace: "if (!MUTANT) { ORIGINAL }",
  },
  {
    name: "no-prejudgement",
    what: "map breaks and makes a page that differs in permissions only",
    file: "visit/map.ts",
    find: "!(difference & ~PERMISSIONS)",
    replace: "!MUTANT && ORIGINAL",
    also: [
      {
        file: "single.ts",
        find: "isValid(old) && !((old ^ leaf) & ~PERMISSIONS)",
        replace: "!MUTANT && ORIGINAL",
      },
    ],
  },
  {
    name: "late-map-downgrades",
    what: "a late map takes permissions from an aged page although the table keeps them",
    file: "visit/map.ts",
    find: "!this.pgt.has(KEEP_PERMISSIONS)",
    replace: "MUTANT || ORIGINAL",
  },
  {
    name: "icache-after-publishing",
    what: "a page of code is there before the instruction cache is invalidated",
    file: "visit/map.ts",
    find: "if (isValid(next) && !(this.flags & SKIP_CMO)) this.maintainCaches(next, pa, level);",
    replace:
      "if (MUTANT) {\n      makeEntry(this, slot, next, level);\n      if (isValid(next) && !(this.flags & SKIP_CMO)) this.maintainCaches(next, pa, level);\n      return 0;\n    }\n    ORIGINAL",
  },
  {
    name: "published-before-filled",
    what: "a table is put into the tree, and then filled and counted",
    file: "visit/map.ts",
    find: "const filled = this.quiet && this.fillTable(table, level + 1);",
    replace: "const filled = !MUTANT && this.quiet && this.fillTable(table, level + 1);",
    also: [
      {
        file: "visit/map.ts",
        find: "return filled ? HANDLED : 0;",
        replace:
          "if (MUTANT && this.quiet && this.fillTable(table, level + 1)) return HANDLED;\n    ORIGINAL",
      },
    ],
  },
  {
    name: "failed-map-drops-count",
    what: "a map that finds no page for a table drops a reference that it never took",
    file: "visit/map.ts",
    find: "if (!table) return -ENOMEM;",
    replace:
      "if (MUTANT && !table) pool.dropReferences(pool.pageOf(slot, this.pageShift), 1);\n    ORIGINAL",
  },
  {
    name: "breaks-before-it-has-a-page",
    what: "the old entry is broken before there is a page for the table that is to replace it",
    file: "visit/map.ts",
    find: "const table = takePage(this.pgt, this.cache);",
    replace:
      "if (MUTANT) {\n      if (!breakEntry(this, slot, old, level)) return -EAGAIN;\n      const page = takePage(this.pgt, this.cache);\n      if (!page) return -ENOMEM;\n      makeEntry(this, slot, tableEntry(toPhysical(page)), level);\n      return 0;\n    }\n    ORIGINAL",
  },
];

const replacing: readonly Mutant[] = [
  {
    name: "replaced-without-break",
    what: "an entry is replaced without the marker in between",
    file: "replace.ts",
    find: "!slots.tryBreak(slot, old)",
    replace: "!(MUTANT ? old != LOCKED && slots.read(slot) == old : slots.tryBreak(slot, old))",
  },
  {
    name: "break-over-marker",
    what: "the marker of another walker is taken for one's own",
    file: "slot.ts",
    find: "old != LOCKED && compareExchange(slot, old, LOCKED) == old",
    replace: "(MUTANT && old == LOCKED) || (ORIGINAL)",
  },
  {
    name: "marker-left-behind",
    what: "the new entry is not put where the marker stands",
    file: "replace.ts",
    find: "slots.make(slot, next);",
    replace: "if (!MUTANT) ORIGINAL",
  },
  {
    name: "detached-tree-freed-inside",
    what: "a tree that a shared map took out is counted down while others may still map into it",
    file: "visit/map.ts",
    find: "if (this.shared && shared) detach(",
    replace: "if (!MUTANT && this.shared && shared) detach(",
  },
  {
    name: "emptied-table-put-twice",
    what: "the reference of a table that goes is dropped twice",
    file: "visit/unmap.ts",
    find: "freeUnlinked(this.pgt, childOf(old), level);",
    replace: "if (MUTANT) putPage(this.pgt, slot);\n    ORIGINAL",
  },
  {
    name: "freed-at-once",
    what: "what went out of the tree is freed without a grace period",
    file: "operation.ts",
    find: "if (patient ? grace() : graceAtOnce()) {",
    replace: "if (MUTANT || (patient ? grace() : graceAtOnce())) {",
  },
];

const permissions: readonly Mutant[] = [
  {
    name: "relax-stores-nothing",
    what: "relaxing says that it has, and has not",
    file: "single.ts",
    find: "next != old && slots.compareExchange(slot, old, next) != old",
    replace: "!(MUTANT && set != 0) && (ORIGINAL)",
  },
  {
    name: "relax-retries-blindly",
    what: "relaxing that lost a race tries the same exchange again and again",
    file: "single.ts",
    find: "if (next != old && slots.compareExchange(slot, old, next) != old) return NOT_MINE;",
    replace:
      "if (MUTANT && next != old) { while (slots.compareExchange(slot, old, next) != old); before = old; return 0; }\n  ORIGINAL",
  },
  {
    name: "marker-taken-for-leaf",
    what: "the marker is changed as if it were a leaf",
    file: "single.ts",
    find: "if (!isValid(old) || isTable(old, levelOf(found))) return NOT_MINE;",
    replace: "if (!(MUTANT && old != 0)) { ORIGINAL }",
  },
  {
    name: "stores-unchanged-entry",
    what: "an entry that is as it should be is stored again",
    file: "visit/protect.ts",
    find: "if (next == old) return 0;",
    replace: "if (!MUTANT) { ORIGINAL }",
  },
  {
    name: "relax-without-local-tlbi",
    what: "relaxing leaves this CPU's own stale entry in its TLB",
    file: "visit/protect.ts",
    find: "if (pgt.events & WATCHED) tlbiIpaLocal(pgt, ia, levelOf(find(pgt, ia)));",
    replace: "if (!MUTANT) { ORIGINAL }",
  },
];

export const tableMutants: readonly Mutant[] = [...mapping, ...replacing, ...permissions];
