/** Self-test page_table/reader_first, over pKVM. */
import "../kind.ts";
import "../../../selftests/page_table/reader_first.test.ts";
