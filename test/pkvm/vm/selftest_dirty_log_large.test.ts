/** Self-test dirty_log/large, over pKVM. */
import "./kind.ts";
import "../../selftests/dirty_log/large.test.ts";
