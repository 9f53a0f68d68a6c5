/** Self-test dirty_log/clear_ranges, over pKVM. */
import "../kind.ts";
import "../../../selftests/dirty_log/clear_ranges.test.ts";
