/** The facade of VMs, vm, over pKVM. */
import "./kind.ts";
import "../../vm/facade/vm.test.ts";
