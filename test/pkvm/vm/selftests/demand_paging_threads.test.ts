/** Self-test demand_paging/threads, over pKVM. */
import "../kind.ts";
import "../../../selftests/demand_paging/threads.test.ts";
