/** Self-test set_memory_region/behind, over pKVM. */
import "../kind.ts";
import "../../../selftests/set_memory_region/behind.test.ts";
