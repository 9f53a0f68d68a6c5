/** M-5.x: faults, step by step, with the pages and locks of the seed, over pKVM. */
import { notApplicable, withFeatures } from "../kind.ts";
import { MEMCACHE, NO_DEVICES, ONE_BLOCK, PAGES_ALONE } from "../reasons.ts";
import "../../../vm/rows/fault.test.ts";

withFeatures({ generation: "seed" });
notApplicable(ONE_BLOCK, ["M-5.2: level 1 is a block"]);
notApplicable(MEMCACHE, ["M-5.3, M-5.71: without pages"]);
notApplicable(NO_DEVICES, [
  "M-5.35: what is no ordinary memory",
  "M-5.36: while logging",
  "M-5.42: with MTE the VMA",
  "M-5.42: X comes with a fetch",
]);
notApplicable(PAGES_ALONE, [
  "M-5.2: the size of a permission fault's leaf",
  "M-5.30: of a hugetlb page",
]);
