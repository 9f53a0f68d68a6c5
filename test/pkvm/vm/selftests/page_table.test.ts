/** Self-test page_table/page_table, over pKVM. */
import { notApplicable } from "../kind.ts";
import { ONE_BLOCK } from "../reasons.ts";
import "../../../selftests/page_table/page_table.test.ts";

notApplicable(ONE_BLOCK, ["hugetlb of level 1"]);
