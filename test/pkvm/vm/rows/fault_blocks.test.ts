/** M-5.1x, M-5.41: sizes of leaves, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_DEVICES, ONE_BLOCK } from "../reasons.ts";
import "../../../vm/rows/fault_blocks.test.ts";

notApplicable(ONE_BLOCK, ["hugetlb of 1073741824: leaves of 1073741824"]);
notApplicable(NO_DEVICES, ["M-5.41: device pages are upgraded"]);
