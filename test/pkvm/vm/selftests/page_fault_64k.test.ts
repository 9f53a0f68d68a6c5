/** Self-test page_fault/page_fault_64k, over pKVM. */
import "../kind.ts";
import "../../../selftests/page_fault/page_fault_64k.test.ts";
