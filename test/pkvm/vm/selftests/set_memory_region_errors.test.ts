/** Self-test set_memory_region/errors, over pKVM. */
import "../kind.ts";
import "../../../selftests/set_memory_region/errors.test.ts";
