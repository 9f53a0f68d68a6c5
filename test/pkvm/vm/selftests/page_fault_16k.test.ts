/** Self-test page_fault/page_fault_16k, over pKVM. */
import "../kind.ts";
import "../../../selftests/page_fault/page_fault_16k.test.ts";
