/** M-8.1 to M-8.14: dirty logs, with the pages and locks of the seed, over pKVM. */
import { notApplicable, withFeatures } from "../kind.ts";
import { NO_SPLIT, PAGES_ALONE } from "../reasons.ts";
import "../../../vm/rows/dirty_log.test.ts";

withFeatures({ generation: "seed" });
notApplicable(NO_SPLIT, ["M-8.1: with a chunk", "M-8.2: initially set: all ones"]);
notApplicable(PAGES_ALONE, ["M-8.3: LOG off"]);
