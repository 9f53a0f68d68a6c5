/** Wrong versions of what hardware writes into entries, and of the structures that tell what it made dirty. */
import type { Mutant } from "../mutants.ts";
import { NO_COMPLETION, NO_GRACE, inPlaceOfHardwareExchange } from "./edits.ts";

/** The hardware's own updates. */
export const updates: readonly Mutant[] = [
  {
    name: "hardware-plain-store",
    what: "hardware stores its update over whatever is there by then",
    ...inPlaceOfHardwareExchange("store<u64>(slot, next); return true;"),
  },
  {
    name: "hardware-or",
    what: "hardware sets its bits in whatever is there by then",
    ...inPlaceOfHardwareExchange("atomic.or<u64>(slot, next ^ old); return true;"),
  },
  {
    name: "hardware-or-in-freed-page",
    what: "hardware sets its bits in whatever is there by then, and freed pages wait for no walk",
    ...inPlaceOfHardwareExchange("atomic.or<u64>(slot, next ^ old); return true;"),
    also: [NO_GRACE, NO_COMPLETION],
  },
  {
    name: "hardware-compares-address",
    what: "hardware compares all but the permissions with what it walked",
    ...inPlaceOfHardwareExchange(
      "const now = slots.read(slot); return !((now ^ old) & ~(<u64>0xc0)) && slots.compareExchange(slot, now, now | (next ^ old)) == now;",
    ),
  },
  {
    name: "hardware-keeps-old",
    what: "an access to an old page does not set the flag",
    file: "vcpu/stage2.ts",
    find: "young ? 0 : AF;",
    replace: "MUTANT ? 0 : ORIGINAL",
  },
  {
    name: "refused-store-sets-w",
    what: "hardware that sets the flag of a refused store grants it, too",
    file: "vcpu/stage2.ts",
    find: "// AF may be set although the access fails: a choice.",
    replace:
      "if (MUTANT && set && has(v, AF_ON_PERMISSION) && changes(v, mode)) update(v, slot, pte, set | S2AP_W, at, 2, ipa);\n      ORIGINAL",
  },
  {
    name: "dirty-before-flag",
    what: "dirty state and access flag are two updates",
    file: "vcpu/stage2.ts",
    find: "if (!update(v, slot, pte, set, at, 2, ipa)) return CHANGED;",
    replace:
      "if (MUTANT && set == (AF | S2AP_W)) {\n      if (!update(v, slot, pte, S2AP_W, at, 2, ipa)) return CHANGED;\n      if (!update(v, slot, pte ^ S2AP_W, AF, at, 2, ipa)) return CHANGED;\n    } else ORIGINAL",
  },
  {
    name: "dbm-ignored",
    what: "with HD, a store makes every page writable",
    file: "vcpu/stage2.ts",
    find: "!(pte & DBM) || !r.has(HD)",
    replace: "(!MUTANT && (ORIGINAL))",
  },
  {
    name: "any-access-makes-dirty",
    what: "every access to a page with DBM makes it dirty",
    file: "vcpu/stage2.ts",
    find: "let set: u64 = young ? 0 : AF;",
    replace: "ORIGINAL\n  if (MUTANT && pte & DBM && !(pte & S2AP_W)) set |= S2AP_W;",
  },
  {
    name: "speculation-makes-dirty",
    what: "a walk ahead of a store is for a store",
    file: "vcpu/translate.ts",
    find: "READ | SPECULATIVE_WALK;",
    replace: "MUTANT ? WRITE | SPECULATIVE_WALK : ORIGINAL",
    also: [
      {
        file: "vcpu/stage2.ts",
        find: "if (!(mode & (STAY_CLEAN | SPECULATIVE_WALK))) set |= S2AP_W;",
        replace: "ORIGINAL\n    if (MUTANT) set |= S2AP_W;",
      },
    ],
  },
  {
    name: "store-before-dirty",
    what: "the store is made before the page is dirty",
    file: "vcpu/access.ts",
    find: "if (crosses(va, size)) return writePieces(v, va, size, mode, value, upper);",
    replace:
      "ORIGINAL\n  if (MUTANT) {\n    const early = pointerFor(v, va, mode | STAY_CLEAN);\n    if (early) storeFor(v, early, min(size, 8), value);\n  }",
  },
  {
    name: "split-of-the-clean-block",
    what: "a split publishes the pages of the block as it was when they were built",
    file: "visit/split.ts",
    find: "(found | AF) != (old | AF)",
    replace: "!MUTANT && ORIGINAL",
  },
];

/** The dirty-state structure, and the cleaner that works it off. */
export const structureMutants: readonly Mutant[] = [
  {
    name: "hdbss-advances-first",
    what: "an entry counts before its page is dirty",
    file: "vcpu/stage2.ts",
    find: "if (recorded && !record(v, at, ipa, ~inLeaf, mode)) return FAULTED;",
    replace: "ORIGINAL\n    if (MUTANT && recorded) advance(v);",
    also: [
      {
        file: "vcpu/stage2.ts",
        find: "if (recorded) advance(v);",
        replace: "if (!MUTANT) { ORIGINAL }",
      },
    ],
  },
  {
    name: "hdbss-full-ignored",
    what: "a full structure stops nobody from making pages dirty",
    file: "vcpu/hdbss.ts",
    find: "v.hdbssprod = index | (full ?",
    replace: "if (MUTANT && full) return true;\n  ORIGINAL",
  },
  {
    name: "hdbss-records-once",
    what: "an update that is tried again counts its entry, but writes it only if the structure is empty",
    file: "vcpu/hdbss.ts",
    find: "while (!exchange(v, pointer, atomic.load<u64>(pointer), entry));",
    replace: "if (MUTANT && index) return true;\n    ORIGINAL",
  },
  {
    name: "cleaner-plain-store",
    what: "the cleaner stores the clean entry over whatever is there by then",
    file: "vcpu/hdbss.ts",
    find: "!exchange(v, slot, pte, pte & ~S2AP_W)",
    replace: "(MUTANT ? (store<u64>(slot, pte & ~S2AP_W), false) : ORIGINAL)",
  },
];
