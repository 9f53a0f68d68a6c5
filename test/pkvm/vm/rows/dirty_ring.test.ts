/** M-8.30 to M-8.36: dirty rings, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_SPLIT } from "../reasons.ts";
import "../../../vm/rows/dirty_ring.test.ts";

notApplicable(NO_SPLIT, ["M-8.33: a reset splits"]);
