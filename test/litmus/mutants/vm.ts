/** Wrong versions of the KVM MMU. */
import type { Mutant } from "../mutants.ts";
import { faultMutants } from "./vm_faults.ts";
import { logMutants } from "./vm_log.ts";
import { memoryMutants } from "./vm_memory.ts";

export const mutants: readonly Mutant[] = [...faultMutants, ...memoryMutants, ...logMutants];
