/** Self-test transitions/logging, over pKVM. */
import { notApplicable } from "../kind.ts";
import { NO_SPLIT } from "../reasons.ts";
import "../../../selftests/transitions/logging.test.ts";

notApplicable(NO_SPLIT, ["initially set, with a chunk: the clear splits"]);
