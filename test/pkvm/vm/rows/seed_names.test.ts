/** M-12.x: names of early KVM, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_IOREMAP } from "../reasons.ts";
import "../../../vm/rows/seed_names.test.ts";

notApplicable(NO_IOREMAP, ["M-12.1: index k of it", "M-12.2: unmapping the whole space"]);
