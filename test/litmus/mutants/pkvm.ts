/** Wrong versions of pKVM. */
import type { Mutant } from "../mutants.ts";
import { hypervisorMutants } from "./pkvm_hypervisor.ts";
import { kernelMutants } from "./pkvm_kernel.ts";

export const mutants: readonly Mutant[] = [...hypervisorMutants, ...kernelMutants];
