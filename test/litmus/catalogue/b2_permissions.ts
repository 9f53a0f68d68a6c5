/** B2: relaxing permissions. It only ever adds, and whoever asked for more finds it after at most one more fault. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { course, handler, retried, store } from "./guests.ts";
import { type Part, faultOf, flag, raiseFlag } from "./observe.ts";
import {
  type Answers,
  Bed,
  EAGAIN,
  PAGE,
  RAM,
  WITH_TLB,
  agent,
  calls,
  forbidden,
  isExecutable,
  isWritable,
  say,
  LOCKING,
} from "./support.ts";

const relaxBoth = litmus({
  name: "L15",
  title: "two relax calls for different permissions: neither takes back what the other gave",
  agents: ["F0", "F1"],
  mutants: ["plain-store-single"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    return { bed, entry: bed.page(0, { prot: Prot.R }) };
  },
  run({ bed, entry }, agents) {
    const answers: Answers = {};
    const { core: f0 } = agent(agents, "F0");
    const { core: f1 } = agent(agents, "F1");
    return {
      programs: {
        F0: calls(answers, { w: () => f0.s2_relax_perms(bed.pgt, 0, Prot.RW) }),
        F1: calls(answers, { x: () => f1.s2_relax_perms(bed.pgt, 0, Prot.RX) }),
      },
      forbidden() {
        const end = bed.entry(entry);
        const { w, x } = answers;
        const known = [w, x].every((result) => result === 0 || result === EAGAIN);
        return forbidden(
          [w === 0 && !isWritable(end), `W was given, and the page is ${say(end)}`],
          [x === 0 && !isExecutable(end), `X was given, and the page is ${say(end)}`],
          [w !== 0 && x !== 0, "neither of the two got through"],
          [!known, `answers were ${w} and ${x}`],
        );
      },
    };
  },
});

const staleRights = litmus({
  name: "L24",
  title: "V1 relaxes: it never meets its own stale entry again, and V0 its own at most once",
  agents: ["V0", "V1"],
  options: { guestRam: RAM },
  mutants: ["relax-without-local-tlbi"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    const entry = bed.page(0, { prot: Prot.R });
    const [v0, v1] = [bed.vcpu("V0", WITH_TLB), bed.vcpu("V1", WITH_TLB)];
    agent(agents, "V0").core.vcpu_read(v0, 0, 4); // both have R in their TLBs
    agent(agents, "V1").core.vcpu_read(v1, 0, 4);
    return { bed, entry, v0, v1 };
  },
  run({ bed, v0, v1 }, agents) {
    const [on0, on1] = [agent(agents, "V0"), agent(agents, "V1")];
    const seen = { relaxed: 0, after: 0, given: 0, first: 0, second: 0 };
    function* relaxer(): Part {
      seen.given = yield () => on1.core.s2_relax_perms(bed.pgt, 0, Prot.RW);
      yield raiseFlag(on1);
      seen.after = yield store(on1, v1, 0, 1);
    }
    function* other(): Part {
      seen.relaxed = yield* flag(on0);
      seen.first = yield store(on0, v0, 4, 2);
      seen.second = yield store(on0, v0, 4, 2);
    }
    return {
      programs: { V0: other(), V1: relaxer() },
      forbidden() {
        const twice = faultOf(seen.first) !== undefined && faultOf(seen.second) !== undefined;
        return forbidden(
          [seen.given !== 0, `relaxing answered ${seen.given}`],
          [seen.after !== 0, "V1 met its stale entry after it had relaxed the page"],
          [seen.relaxed !== 0 && twice, "V0 took two spurious faults on a page that was relaxed"],
        );
      },
    };
  },
});

const relaxAndProtect = litmus({
  name: "L22",
  title: "a guest that stores, and one write-protection with flush: two faults at most",
  agents: ["V0", "X"],
  options: { guestRam: RAM },
  mutants: ["relax-stores-nothing"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    const entry = bed.page(0, { prot: Prot.R });
    return { bed, entry, v0: bed.vcpu("V0", WITH_TLB), word: bed.fillRam(RAM.pa, 0) };
  },
  run({ bed, v0, word }, agents) {
    const [guest, x] = [agent(agents, "V0"), agent(agents, "X")];
    const met = course();
    const answers: Answers = {};
    const fix = handler(guest, bed.pgt, 0, RAM.pa, Prot.RW);
    function* stores(): Part {
      yield* retried(store(guest, v0, 0, 7), fix, met);
    }
    return {
      programs: {
        V0: stores(),
        X: calls(answers, {
          protect: () => x.core.s2_wrprotect(bed.pgt, 0, PAGE),
          flush: () => x.core.s2_tlb_flush_range(bed.pgt, 0, PAGE),
        }),
      },
      forbidden: () =>
        forbidden(
          [answers.protect !== 0 || answers.flush !== 0, "write-protection failed"],
          [met.faults > 2, `V0 faulted ${met.faults} times, and X ran once`],
          [met.result !== 0 || bed.lab.read32(word) !== 7, "V0's store never came to pass"],
        ),
    };
  },
});

export const permissions: readonly Litmus[] = [relaxBoth, relaxAndProtect, staleRights];
