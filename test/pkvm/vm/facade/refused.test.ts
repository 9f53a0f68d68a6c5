/** The facade of VMs, refused, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_IOREMAP, NO_MEMORY } from "../reasons.ts";
import "../../../vm/facade/refused.test.ts";

notApplicable(NO_MEMORY, ["a page that lies otherwise in the host's leaf"]);
notApplicable(NO_IOREMAP, ["a device beyond the page table is not mapped"]);
