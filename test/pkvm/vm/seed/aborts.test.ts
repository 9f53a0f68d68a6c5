/** M-4.1 to M-4.22: guest aborts, with the pages and locks of the seed, over pKVM. */
import { notApplicable, withFeatures } from "../kind.ts";
import { IPA_SIZE, PAGES_ALONE } from "../reasons.ts";
import "../../../vm/rows/aborts.test.ts";

withFeatures({ generation: "seed" });
notApplicable(IPA_SIZE, ["M-4.2: between the IPA size", "M-4.8: the injected syndrome"]);
notApplicable(PAGES_ALONE, ["M-4.3, M-4.4, M-4.6, M-4.7: every fault status code"]);
