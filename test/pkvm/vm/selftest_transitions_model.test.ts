/** Self-test transitions/model, over pKVM. */
import "./kind.ts";
import "../../selftests/transitions/model.test.ts";
