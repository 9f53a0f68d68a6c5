/** Callbacks that do not behave, over pKVM. */
import "../kind.ts";
import "../../../vm/rows/callbacks.test.ts";
