/** Self-test page_table/interleaved, over pKVM. */
import "./kind.ts";
import "../../selftests/page_table/interleaved.test.ts";
