/** Self-test access_tracking/access_tracking, over pKVM. */
import "../kind.ts";
import "../../../selftests/access_tracking/access_tracking.test.ts";
