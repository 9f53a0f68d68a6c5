/** M-5.7x: faults beside others, with the pages and locks of the seed, over pKVM. */
import { notApplicable, withFeatures } from "../kind.ts";
import { MAPPED_IS_AGAIN } from "../reasons.ts";
import "../../../vm/rows/fault_races.test.ts";

withFeatures({ generation: "seed" });
notApplicable(MAPPED_IS_AGAIN, [
  "M-5.72: the AF trap: a late read of an aged RW page; strict: false",
  "M-5.73: a late map",
]);
