/** Self-test memslot_perf/threads, over pKVM. */
import "../kind.ts";
import "../../../selftests/memslot_perf/threads.test.ts";
