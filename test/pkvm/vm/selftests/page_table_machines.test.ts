/** Self-test page_table/machines, over pKVM. */
import "../kind.ts";
import "../../../selftests/page_table/machines.test.ts";
