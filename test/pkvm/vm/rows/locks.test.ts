/** Faults and operations beside threads that hold locks, over pKVM. */
import { notApplicable } from "../kind.ts";
import { MEMCACHE, NO_IOREMAP, WRITE_SIDE } from "../reasons.ts";
import "../../../vm/rows/locks.test.ts";

notApplicable(WRITE_SIDE, [
  "M-4.20, M-5.40: map goes on beside readers",
  "M-4.20, M-5.40: relax goes on beside readers",
]);
notApplicable(NO_IOREMAP, ["M-6.1, M-7.1: ioremap waits"]);
notApplicable(MEMCACHE, ["M-2.6: pages for the tables"]);
