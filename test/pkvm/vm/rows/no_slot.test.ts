/** Accesses beside the slots, over pKVM. */
import "../kind.ts";
import "../../../vm/rows/no_slot.test.ts";
