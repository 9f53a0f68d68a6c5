/** Self-test page_table/gigabyte_line, over pKVM. */
import "../kind.ts";
import "../../../selftests/page_table/gigabyte_line.test.ts";
