/** Self-test page_fault/traps, over pKVM. */
import "../kind.ts";
import "../../../selftests/page_fault/traps.test.ts";
