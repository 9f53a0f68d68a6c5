/** M-5.5x: which call a fault makes, over pKVM. */
import "../kind.ts";
import "../../../vm/rows/fault_call.test.ts";
