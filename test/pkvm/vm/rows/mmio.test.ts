/** M-4.30 to M-4.34: MMIO, over pKVM. */
import "../kind.ts";
import "../../../vm/rows/mmio.test.ts";
