/** M-3.x: the error table of memslots, over pKVM. */
import { notApplicable } from "../kind.ts";
import { IPA_SIZE } from "../reasons.ts";
import "../../../vm/rows/memslots.test.ts";

notApplicable(IPA_SIZE, ["M-3.17: what ends beyond the IPA space"]);
