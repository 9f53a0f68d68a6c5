/** M-7.x: notifiers, over pKVM. */
import "../kind.ts";
import "../../../vm/rows/notifiers.test.ts";
