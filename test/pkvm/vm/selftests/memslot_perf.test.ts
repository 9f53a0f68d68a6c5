/** Self-test memslot_perf/memslot_perf, over pKVM. */
import "../kind.ts";
import "../../../selftests/memslot_perf/memslot_perf.test.ts";
