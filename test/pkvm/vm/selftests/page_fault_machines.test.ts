/** Self-test page_fault/machines, over pKVM. */
import "../kind.ts";
import "../../../selftests/page_fault/machines.test.ts";
