/** M-10: what must be invalid when a call returns, over pKVM. */
import { notApplicable } from "../kind.ts";
import { BY_MAPPINGS, MAPPED_IS_AGAIN, NO_IOREMAP } from "../reasons.ts";
import "../../../vm/rows/tlb.test.ts";

notApplicable(NO_IOREMAP, ["M-10: install into an invalid entry"]);
notApplicable(BY_MAPPINGS, [
  "M-10: block to page: break, TLBI at the block's level",
  "M-10: table to block",
  "M-10: unmap with FWB and range TLBI",
  "M-10: unmap of a table",
]);
notApplicable(MAPPED_IS_AGAIN, ["M-10: a new page, new attributes"]);
