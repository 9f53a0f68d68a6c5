/** M-5.x: faults, step by step, over pKVM. */
import { notApplicable } from "../kind.ts";
import { MEMCACHE, NO_DEVICES, ONE_BLOCK } from "../reasons.ts";
import "../../../vm/rows/fault.test.ts";

notApplicable(ONE_BLOCK, ["M-5.2: level 1 is a block"]);
notApplicable(MEMCACHE, ["M-5.3, M-5.71: without pages"]);
notApplicable(NO_DEVICES, [
  "M-5.35: what is no ordinary memory",
  "M-5.36: while logging",
  "M-5.42: with MTE the VMA",
  "M-5.42: X comes with a fetch",
]);
