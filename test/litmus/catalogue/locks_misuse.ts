/** K: locks that are used wrongly, and threads that end without giving back what they have. */
import { THREAD_FLAG } from "../../../src/_abi.ts";
import { type Agent, type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { type Call, type Part, flag, raiseFlag } from "./observe.ts";
import { type Answers, Bed, EAGAIN, PAGE, agent, calls, forbidden } from "./support.ts";

const EINVAL = -22;
const EPERM = -1;
const EDEADLK = -35;
const ETIMEDOUT = -110;

const wrongUse = litmus({
  name: "K6",
  title: "recursive taking and double release are refused, and shake nobody else's lock",
  agents: ["R", "W"],
  mutants: ["release-unchecked", "recursion-let-in"],
  setup: (agents, lab) => new Bed(agents, lab),
  run(bed, agents) {
    const [r, w] = [agent(agents, "R"), agent(agents, "W")];
    const answers: Answers = {};
    const seen: number[] = [];
    function* reads(): Part {
      answers.read = yield () => r.core.lock_read(bed.pgt);
      seen.push(yield* flag(r));
      answers.again = yield () => r.core.lock_read(bed.pgt);
      answers.upgrade = yield () => r.core.lock_write(bed.pgt);
      answers.otherSide = yield () => r.core.unlock_write(bed.pgt);
      seen.push(yield* flag(r));
      answers.readEnd = yield () => r.core.unlock_read(bed.pgt);
      answers.twice = yield () => r.core.unlock_read(bed.pgt);
    }
    return {
      programs: {
        R: reads(),
        W: calls(answers, {
          write: () => w.core.lock_write(bed.pgt),
          middle: () => (raiseFlag(w, 1)(), 0),
          done: () => (raiseFlag(w, 2)(), 0),
          writeEnd: () => w.core.unlock_write(bed.pgt),
          writeTwice: () => w.core.unlock_write(bed.pgt),
        }),
      },
      forbidden() {
        const { again, upgrade, otherSide, twice, writeTwice, ...fine } = answers;
        return forbidden(
          [Object.values(fine).some((result) => result !== 0), JSON.stringify(fine)],
          [again !== EDEADLK || upgrade !== EDEADLK, `taking it again: ${again}, ${upgrade}`],
          [otherSide !== EPERM, `releasing the other side answered ${otherSide}`],
          [twice !== EPERM || writeTwice !== EPERM, `releasing twice: ${twice}, ${writeTwice}`],
          [seen.includes(1) || seen[0] !== seen[1], `the reader saw ${seen.join(" and ")}`],
        );
      },
    };
  },
});

/** How a thread ends, and what it leaves. */
interface Death {
  readonly name: string;
  readonly what: string;
  readonly mutant: string;
  /** What reclaiming it answers. */
  readonly flags: number;
  readonly takes: (d: Agent, bed: Bed, vcpu: number) => Call;
  readonly taken: number;
  /** X is inside a read side when D comes. */
  readonly read?: boolean;
}

/** D takes something and ends; X comes after that, waits in vain once, and takes it from the dead. */
function reclaimed({ name, what, mutant, flags, takes, taken, read = false }: Death): Litmus {
  return litmus({
    name,
    title: `a thread ends ${what}: who needs it is told, reclaims, and goes on`,
    agents: ["D", "X"],
    mutants: [mutant],
    setup(agents, lab) {
      const bed = new Bed(agents, lab, { locking: true });
      for (const page of [0, 1, 2]) bed.page(page);
      if (read) agent(agents, "X").core.lock_read(bed.pgt);
      return { bed, vcpu: bed.vcpu("D") };
    },
    run({ bed, vcpu }, agents) {
      const [d, x] = [agent(agents, "D"), agent(agents, "X")];
      const { core } = x;
      const answers: Answers = {};
      const unmap = (page: number) => () => core.s2_unmap(bed.pgt, page * PAGE, PAGE);
      function* ends(): Part {
        answers.take = yield takes(d, bed, vcpu);
        yield raiseFlag(d); // its last sign of life
      }
      function* comes(): Part {
        if ((yield* flag(x)) === 0) return; // it lives: nobody may take anything from it
        if (read) yield () => core.unlock_read(bed.pgt);
        answers.before = yield unmap(0);
        answers.flags = yield () => core.thread_reclaim(d.thread);
        answers.twice = yield () => core.thread_reclaim(d.thread);
        answers.after = yield unmap(1);
      }
      return {
        programs: { D: ends(), X: comes() },
        forbidden() {
          const { take, before, after, twice } = answers;
          return forbidden(
            [take !== taken, `taking it answered ${take}`],
            [before !== undefined && before !== ETIMEDOUT, `X got ${before}`],
            [answers.flags !== undefined && answers.flags !== flags, `flags are ${answers.flags}`],
            [twice !== undefined && twice !== EINVAL, "a free slot was reclaimed"],
            [after !== undefined && after !== 0, `then X got ${after}`],
          );
        },
      };
    },
  });
}

const deaths = [
  reclaimed({
    name: "K7",
    what: "inside a read side",
    mutant: "reclaim-leaves-sections",
    flags: THREAD_FLAG.WALK | THREAD_FLAG.READS,
    takes: (d, bed) => () => d.core.lock_read(bed.pgt),
    taken: 0,
  }),
  reclaimed({
    name: "K7b",
    what: "inside a write side",
    mutant: "reclaim-leaves-lock",
    flags: THREAD_FLAG.WRITES,
    takes: (d, bed) => () => d.core.lock_write(bed.pgt),
    taken: 0,
  }),
  reclaimed({
    name: "K7c",
    what: "with a claim on the write side",
    mutant: "reclaim-leaves-lock",
    flags: THREAD_FLAG.CLAIMS,
    takes: (d, bed) => () => d.core.lock_claim_write(bed.pgt),
    taken: EAGAIN,
    read: true,
  }),
  reclaimed({
    name: "K7d",
    what: "inside the bracket of a vCPU",
    mutant: "reclaim-leaves-sections",
    flags: THREAD_FLAG.BRACKET,
    takes: (d, _bed, vcpu) => () => d.core.vcpu_enter(vcpu),
    taken: 0,
  }),
];

export const misuse: readonly Litmus[] = [wrongUse, ...deaths];
