/** The facade of VMs, refused, over pKVM. */
import "./kind.ts";
import "../../vm/facade/refused.test.ts";
