/** M-7.x: notifiers, over pKVM. */
import { notApplicable } from "../kind.ts";
import { MEMCACHE } from "../reasons.ts";
import "../../../vm/rows/notifiers.test.ts";

notApplicable(MEMCACHE, ["M-7.9: release: the whole teardown"]);
