/** Wrong versions of the software side. */
import type { Mutant } from "../mutants.ts";
import { syncMutants } from "./software_sync.ts";
import { tableMutants } from "./software_tables.ts";

export const mutants: readonly Mutant[] = [...tableMutants, ...syncMutants];
