/** The facade of VMs, slices, over pKVM. */
import "../kind.ts";
import "../../../vm/facade/slices.test.ts";
