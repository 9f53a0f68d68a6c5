/** The facade of VMs, aborts, over pKVM. */
import "../kind.ts";
import "../../../vm/facade/aborts.test.ts";
