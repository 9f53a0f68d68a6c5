/** M-1.x: making a VM and its end, over pKVM. */
import { notApplicable } from "../kind.ts";
import { BY_MAPPINGS, NO_SPLIT } from "../reasons.ts";
import "../../../vm/rows/create.test.ts";

notApplicable(BY_MAPPINGS, ["M-1.31: destroying sends no TLB invalidation"]);
notApplicable(NO_SPLIT, ["M-1.32: the end frees the split cache"]);
