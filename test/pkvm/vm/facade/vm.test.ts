/** The facade of VMs, vm, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_IOREMAP, NO_SPLIT } from "../reasons.ts";
import "../../../vm/facade/vm.test.ts";

notApplicable(NO_IOREMAP, [
  "its table, as the kernel's debug file",
  "refuses parts of pages, and bad devices",
]);
notApplicable(NO_SPLIT, ["splits in its chunks"]);
