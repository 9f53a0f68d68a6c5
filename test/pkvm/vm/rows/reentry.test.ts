/** A VM that is used in the middle of something, over pKVM. */
import { notApplicable } from "../kind.ts";
import { PAGE_RECORDS } from "../reasons.ts";
import "../../../vm/rows/reentry.test.ts";

notApplicable(PAGE_RECORDS, ["between slices: a fault, an invalidation"]);
