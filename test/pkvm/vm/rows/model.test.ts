/** Random programs against a model of the VM, over pKVM. */
import "../kind.ts";
import "../../../vm/rows/model.test.ts";
