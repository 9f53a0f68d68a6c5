/** Edits that several mutants make. */
import type { Edit } from "../mutants.ts";

/** A DSB waits for nobody. */
export const NO_COMPLETION: Edit = {
  file: "sync/completion.ts",
  find: "const position = head();",
  replace: "if (MUTANT) return;\n  ORIGINAL",
};

/** A page that went out of a tree goes to the pool at once. */
export const NO_GRACE: Edit = {
  file: "table_pages.ts",
  find: "shared && !reaping",
  replace: "!MUTANT && ORIGINAL",
};

/** Where hardware exchanges a descriptor: what stands before it is done in its place. */
export function inPlaceOfHardwareExchange(statements: string): Edit {
  return {
    file: "vcpu/update.ts",
    find: "if (!has(v, STRICT_MONITOR)) return slots.compareExchange(slot, old, next) == old;",
    replace: `if (MUTANT) { ${statements} }\n  ORIGINAL`,
  };
}
