/** Self-test page_table/threads, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_SPLIT } from "../reasons.ts";
import "../../../selftests/page_table/threads.test.ts";

notApplicable(NO_SPLIT, ["split eagerly"]);
