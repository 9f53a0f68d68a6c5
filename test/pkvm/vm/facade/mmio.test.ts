/** The facade of VMs, mmio, over pKVM. */
import "../kind.ts";
import "../../../vm/facade/mmio.test.ts";
