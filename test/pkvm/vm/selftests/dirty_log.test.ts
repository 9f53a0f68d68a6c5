/** Self-test dirty_log/dirty_log, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_HDBSS } from "../reasons.ts";
import "../../../selftests/dirty_log/dirty_log.test.ts";

notApplicable(NO_HDBSS, ["mode hdbss"]);
