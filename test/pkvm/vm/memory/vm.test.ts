/** Guest memory behind VMs, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_DEVICES, PAGE_RECORDS } from "../reasons.ts";
import "../../../vm/memory/vm.test.ts";

notApplicable(NO_DEVICES, ["devices are mapped as such"]);
notApplicable(PAGE_RECORDS, ["must have pages of the same size"]);
