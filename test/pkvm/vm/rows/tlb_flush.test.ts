/** M-10: flushes, over pKVM. */
import { notApplicable } from "../kind.ts";
import { BY_MAPPINGS, WHOLE_VMID } from "../reasons.ts";
import "../../../vm/rows/tlb_flush.test.ts";

notApplicable(WHOLE_VMID, ["pieces of 2^21 pages, or the VMID; range: true"]);
notApplicable(BY_MAPPINGS, ["M-10: the end of a VM: none"]);
