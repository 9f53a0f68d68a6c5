/** Self-test dirty_log/hdbss, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_HDBSS } from "../reasons.ts";
import "../../../selftests/dirty_log/hdbss.test.ts";

notApplicable(NO_HDBSS, ["HDBSS, "]);
