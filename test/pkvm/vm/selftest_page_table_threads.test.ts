/** Self-test page_table/threads, over pKVM. */
import "./kind.ts";
import "../../selftests/page_table/threads.test.ts";
