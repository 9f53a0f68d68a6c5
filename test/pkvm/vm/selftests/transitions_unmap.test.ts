/** Self-test transitions/unmap, over pKVM. */
import "../kind.ts";
import "../../../selftests/transitions/unmap.test.ts";
