/** Self-test dirty_log/threads, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_HDBSS } from "../reasons.ts";
import "../../../selftests/dirty_log/threads.test.ts";

notApplicable(NO_HDBSS, ["mode hdbss"]);
