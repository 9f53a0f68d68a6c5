/** Callbacks that do not behave, over pKVM. */
import { notApplicable } from "../kind.ts";
import { MEMCACHE } from "../reasons.ts";
import "../../../vm/rows/callbacks.test.ts";

notApplicable(MEMCACHE, ["resolve throws: the error passes"]);
