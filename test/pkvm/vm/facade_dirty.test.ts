/** The facade of VMs, dirty, over pKVM. */
import "./kind.ts";
import "../../vm/facade/dirty.test.ts";
