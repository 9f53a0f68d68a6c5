/** M-8.40 to M-8.43: eager splitting, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_SPLIT } from "../reasons.ts";
import "../../../vm/rows/eager_split.test.ts";

notApplicable(NO_SPLIT, ["eager splitting"]);
