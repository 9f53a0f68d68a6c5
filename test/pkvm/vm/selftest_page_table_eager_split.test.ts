/** Self-test page_table/eager_split, over pKVM. */
import "./kind.ts";
import "../../selftests/page_table/eager_split.test.ts";
