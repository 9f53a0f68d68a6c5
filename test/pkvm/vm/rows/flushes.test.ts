/** M-9.x: caches of the guest, over pKVM. */
import "../kind.ts";
import "../../../vm/rows/flushes.test.ts";
