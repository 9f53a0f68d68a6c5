/** Self-test page_table/eager_split, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_SPLIT } from "../reasons.ts";
import "../../../selftests/page_table/eager_split.test.ts";

notApplicable(NO_SPLIT, ["eager split"]);
