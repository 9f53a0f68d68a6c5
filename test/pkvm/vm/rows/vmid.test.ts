/** M-1.x, M-10: VMIDs, over pKVM. */
import "../kind.ts";
import "../../../vm/rows/vmid.test.ts";
