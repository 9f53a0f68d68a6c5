/** Wrong versions of what stands between software and hardware. */
import type { Mutant } from "../mutants.ts";
import { engineMutants, invalidations } from "./hardware_engine.ts";
import { agingMutants, exchanges, takings } from "./hardware_entries.ts";
import { structureMutants, updates } from "./hardware_updates.ts";

export const mutants: readonly Mutant[] = [
  ...exchanges,
  ...takings,
  ...agingMutants,
  ...invalidations,
  ...updates,
  ...structureMutants,
  ...engineMutants,
];
