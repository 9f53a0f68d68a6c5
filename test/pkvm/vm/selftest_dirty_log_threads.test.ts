/** Self-test dirty_log/threads, over pKVM. */
import "./kind.ts";
import "../../selftests/dirty_log/threads.test.ts";
