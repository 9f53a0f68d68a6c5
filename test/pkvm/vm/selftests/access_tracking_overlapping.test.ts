/** Self-test access_tracking/overlapping, over pKVM. */
import "../kind.ts";
import "../../../selftests/access_tracking/overlapping.test.ts";
