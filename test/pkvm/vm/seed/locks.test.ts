/** Faults and operations beside threads that hold locks, with the pages and locks of the seed, over pKVM. */
import { notApplicable, withFeatures } from "../kind.ts";
import { MEMCACHE, NO_IOREMAP } from "../reasons.ts";
import "../../../vm/rows/locks.test.ts";

withFeatures({ generation: "seed" });
notApplicable(NO_IOREMAP, ["M-6.1, M-7.1: ioremap waits"]);
notApplicable(MEMCACHE, ["M-2.6: pages for the tables"]);
