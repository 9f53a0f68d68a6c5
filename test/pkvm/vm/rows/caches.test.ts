/** M-2.x: memory caches, over pKVM. */
import { notApplicable } from "../kind.ts";
import { MEMCACHE, NO_SPLIT } from "../reasons.ts";
import "../../../vm/rows/caches.test.ts";

notApplicable(MEMCACHE, [
  "M-2.2: one fault needs",
  "M-2.6: the topup comes",
  "M-2.7: translation faults",
]);
notApplicable(NO_SPLIT, ["M-2.8: the split cache"]);
