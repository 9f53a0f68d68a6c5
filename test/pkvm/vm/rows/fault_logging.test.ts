/** M-5.6x: faults and logging, over pKVM. */
import { notApplicable } from "../kind.ts";
import { BY_MAPPINGS } from "../reasons.ts";
import "../../../vm/rows/fault_logging.test.ts";

notApplicable(BY_MAPPINGS, [
  "M-5.63: a write to a protected block while logging: one page of it, 4K",
]);
