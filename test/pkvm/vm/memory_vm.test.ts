/** Guest memory behind VMs, over pKVM. */
import "./kind.ts";
import "../../vm/memory/vm.test.ts";
