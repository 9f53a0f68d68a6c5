/** Self-test page_fault/page_fault_4k, over pKVM. */
import "../kind.ts";
import "../../../selftests/page_fault/page_fault_4k.test.ts";
