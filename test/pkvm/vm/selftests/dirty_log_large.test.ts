/** Self-test dirty_log/large, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_HDBSS } from "../reasons.ts";
import "../../../selftests/dirty_log/large.test.ts";

notApplicable(NO_HDBSS, ["mode hdbss"]);
