/** Every mutant. */
import type { Mutant } from "../mutants.ts";
import { mutants as hardware } from "./hardware.ts";
import { mutants as pkvm } from "./pkvm.ts";
import { mutants as software } from "./software.ts";
import { mutants as vm } from "./vm.ts";

export const mutants: readonly Mutant[] = [...hardware, ...software, ...vm, ...pkvm];
