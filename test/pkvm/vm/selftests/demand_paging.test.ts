/** Self-test demand_paging/demand_paging, over pKVM. */
import "../kind.ts";
import "../../../selftests/demand_paging/demand_paging.test.ts";
