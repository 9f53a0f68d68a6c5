/** Self-test access_tracking/threads, over pKVM. */
import "../kind.ts";
import "../../../selftests/access_tracking/threads.test.ts";
