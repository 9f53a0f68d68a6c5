/** Self-test dirty_log/hdbss, over pKVM. */
import "./kind.ts";
import "../../selftests/dirty_log/hdbss.test.ts";
