/** Self-test dirty_log/dirty_log, over pKVM. */
import "./kind.ts";
import "../../selftests/dirty_log/dirty_log.test.ts";
