/** Self-test page_table/page_table, over pKVM. */
import "./kind.ts";
import "../../selftests/page_table/page_table.test.ts";
