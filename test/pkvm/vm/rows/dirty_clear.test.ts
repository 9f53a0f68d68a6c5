/** M-8.20 to M-8.28: dirty logs that are cleared by hand, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_SPLIT } from "../reasons.ts";
import "../../../vm/rows/dirty_clear.test.ts";

notApplicable(NO_SPLIT, ["M-8.27: initially set: the range is split"]);
