/** M-4.1 to M-4.22: guest aborts, over pKVM. */
import { notApplicable } from "../kind.ts";
import { IPA_SIZE } from "../reasons.ts";
import "../../../vm/rows/aborts.test.ts";

notApplicable(IPA_SIZE, ["M-4.2: between the IPA size", "M-4.8: the injected syndrome"]);
