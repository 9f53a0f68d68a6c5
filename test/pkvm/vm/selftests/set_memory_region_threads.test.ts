/** Self-test set_memory_region/threads, over pKVM. */
import "../kind.ts";
import "../../../selftests/set_memory_region/threads.test.ts";
