/** Long dirty logs, over pKVM. */
import "../kind.ts";
import "../../../vm/rows/dirty_large.test.ts";
