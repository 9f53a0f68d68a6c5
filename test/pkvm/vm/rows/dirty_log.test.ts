/** M-8.1 to M-8.14: dirty logs, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_SPLIT } from "../reasons.ts";
import "../../../vm/rows/dirty_log.test.ts";

notApplicable(NO_SPLIT, ["M-8.1: with a chunk", "M-8.2: initially set: all ones"]);
