/** M-6.x: operations on ranges, over pKVM. */
import { notApplicable } from "../kind.ts";
import { IPA_SIZE, NO_IOREMAP } from "../reasons.ts";
import "../../../vm/rows/ranges.test.ts";

notApplicable(IPA_SIZE, ["M-6.4: the first piece that fails"]);
notApplicable(NO_IOREMAP, ["M-6.12: ioremap: page by page", "M-6.12: not for protected VMs"]);
