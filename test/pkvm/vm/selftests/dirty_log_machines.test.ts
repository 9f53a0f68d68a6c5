/** Self-test dirty_log/machines, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_HDBSS } from "../reasons.ts";
import "../../../selftests/dirty_log/machines.test.ts";

notApplicable(NO_HDBSS, ["mode hdbss"]);
