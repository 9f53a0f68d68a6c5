/** Self-test dirty_log/machines, over pKVM. */
import "./kind.ts";
import "../../selftests/dirty_log/machines.test.ts";
