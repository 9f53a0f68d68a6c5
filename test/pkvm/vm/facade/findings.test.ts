/** The facade of VMs, findings, over pKVM. */
import "../kind.ts";
import "../../../vm/facade/findings.test.ts";
