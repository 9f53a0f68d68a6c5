/** Self-test transitions/model, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_SPLIT } from "../reasons.ts";
import "../../../selftests/transitions/model.test.ts";

notApplicable(NO_SPLIT, ["eager split true"]);
