/** Self-test transitions/sizes, over pKVM. */
import "./kind.ts";
import "../../selftests/transitions/sizes.test.ts";
