/** Self-test dirty_log/host_writes, over pKVM. */
import "../kind.ts";
import "../../../selftests/dirty_log/host_writes.test.ts";
