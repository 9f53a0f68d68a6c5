/** Self-test transitions/logging, over pKVM. */
import "./kind.ts";
import "../../selftests/transitions/logging.test.ts";
