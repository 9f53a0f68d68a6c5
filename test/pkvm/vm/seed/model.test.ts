/** Random programs against a model of the VM, with the pages and locks of the seed, over pKVM. */
import { withFeatures } from "../kind.ts";
import "../../../vm/rows/model.test.ts";

withFeatures({ generation: "seed" });
