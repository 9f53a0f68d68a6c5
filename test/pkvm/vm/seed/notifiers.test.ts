/** M-7.x: notifiers, with the pages and locks of the seed, over pKVM. */
import { withFeatures } from "../kind.ts";
import "../../../vm/rows/notifiers.test.ts";

withFeatures({ generation: "seed" });
