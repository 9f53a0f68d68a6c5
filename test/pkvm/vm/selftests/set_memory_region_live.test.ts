/** Self-test set_memory_region/live, over pKVM. */
import "../kind.ts";
import "../../../selftests/set_memory_region/live.test.ts";
