/** Self-test set_memory_region/flags, over pKVM. */
import "../kind.ts";
import "../../../selftests/set_memory_region/flags.test.ts";
