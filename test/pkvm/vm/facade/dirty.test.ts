/** The facade of VMs, dirty, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_HDBSS } from "../reasons.ts";
import "../../../vm/facade/dirty.test.ts";

notApplicable(NO_HDBSS, ["are in the log when it is collected, and in no log that begins later"]);
