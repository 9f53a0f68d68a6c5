/** M-3.16, M-3.20 to M-3.27: changes of memslots, over pKVM. */
import { notApplicable } from "../kind.ts";
import { PAGE_RECORDS } from "../reasons.ts";
import "../../../vm/rows/memslot_changes.test.ts";

notApplicable(PAGE_RECORDS, ["M-3.16: whatever is missing"]);
