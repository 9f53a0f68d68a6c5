/** Self-test transitions/sizes, over pKVM. */
import { notApplicable } from "../kind.ts";
import { ONE_BLOCK } from "../reasons.ts";
import "../../../selftests/transitions/sizes.test.ts";

notApplicable(ONE_BLOCK, ["1 GiB, in a slot of 2 GiB"]);
