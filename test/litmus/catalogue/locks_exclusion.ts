/** K: mmu_lock keeps out whom it must, and lets nobody wait for ever. */
import { type Agent, type Lab, type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { type Part, flag, raiseFlag } from "./observe.ts";
import { type Agents, type Answers, Bed, agent, calls, forbidden } from "./support.ts";

const EBUSY = -16;
/** Results of a call lie in the thread's own scratch, behind 8 words of arguments. */
const RESULTS = 64;

/** A table whose lock the agents take by hand. */
function tableOnly(agents: Agents, lab: Lab): Bed {
  return new Bed(agents, lab);
}

/** What `lock_state` said to this agent: who writes (thread + 1), how many readers wait. */
function* lockState(on: Agent, bed: Bed): Part<{ writer: number; waiting: number }> {
  const { core } = on;
  yield () => core.lock_state(bed.pgt);
  const results = (core.args() >>> 0) + RESULTS;
  return { writer: bed.lab.read32(results), waiting: bed.lab.read32(results + 8) };
}

const writers = litmus({
  name: "K1",
  title: "two writers: a counter that each reads and stores loses nothing",
  agents: ["W0", "W1"],
  mutants: ["lock-taken-by-plain-store"],
  setup: tableOnly,
  run(bed, agents) {
    const answers: Answers = {};
    function* counts(name: string): Part {
      const on = agent(agents, name);
      answers[`${name} lock`] = yield () => on.core.lock_write(bed.pgt);
      const count = yield* flag(on);
      yield raiseFlag(on, count + 1);
      answers[`${name} unlock`] = yield () => on.core.unlock_write(bed.pgt);
    }
    return {
      programs: { W0: counts("W0"), W1: counts("W1") },
      forbidden: () =>
        forbidden(
          [Object.values(answers).some((result) => result !== 0), JSON.stringify(answers)],
          [agent(agents, "W0").core.pool_budget() % 1000 !== 2, "a count was lost"],
        ),
    };
  },
});

const readersAndWriter = litmus({
  name: "K2",
  title: "a reader and a writer: the reader never sees the middle of the writer's work",
  agents: ["R", "W"],
  mutants: ["reader-ignores-writer", "writer-ignores-readers", "reader-looks-then-enters"],
  setup: tableOnly,
  run(bed, agents) {
    const [r, w] = [agent(agents, "R"), agent(agents, "W")];
    const answers: Answers = {};
    const seen: number[] = [];
    function* reads(): Part {
      answers.read = yield () => r.core.lock_read(bed.pgt);
      seen.push(yield* flag(r));
      seen.push(yield* flag(r));
      answers.unread = yield () => r.core.unlock_read(bed.pgt);
    }
    return {
      programs: {
        R: reads(),
        W: calls(answers, {
          write: () => w.core.lock_write(bed.pgt),
          middle: () => (raiseFlag(w, 1)(), 0),
          done: () => (raiseFlag(w, 2)(), 0),
          unwrite: () => w.core.unlock_write(bed.pgt),
        }),
      },
      forbidden: () =>
        forbidden(
          [Object.values(answers).some((result) => result !== 0), JSON.stringify(answers)],
          [seen.includes(1) || seen[0] !== seen[1], `the reader saw ${seen.join(" and ")}`],
        ),
    };
  },
});

const stripes = litmus({
  name: "K3",
  title: "try for reading against try for writing, both kept: never both",
  agents: ["R0", "R1", "W"],
  mutants: ["reader-looks-then-enters", "readers-not-seen"],
  setup: tableOnly,
  run(bed, agents) {
    const answers: Answers = {};
    const tries = (name: string) =>
      calls(answers, { [name]: () => agent(agents, name).core.lock_try_read(bed.pgt) });
    return {
      programs: {
        R0: tries("R0"),
        R1: tries("R1"),
        W: calls(answers, { W: () => agent(agents, "W").core.lock_try_write(bed.pgt) }),
      },
      forbidden() {
        const { R0, R1, W } = answers;
        const known = Object.values(answers).every((result) => result === 0 || result === EBUSY);
        return forbidden(
          [!known, JSON.stringify(answers)],
          [W === 0 && (R0 === 0 || R1 === 0), "a writer and a reader have the lock"],
        );
      },
    };
  },
});

const writerFirst = litmus({
  name: "K4",
  title: "a reader that comes when a writer has claimed the lock goes behind it",
  agents: ["R0", "W", "R1"],
  mutants: ["reader-ignores-writer"],
  setup: tableOnly,
  run(bed, agents) {
    const [r0, w, r1] = [agent(agents, "R0"), agent(agents, "W"), agent(agents, "R1")];
    const answers: Answers = {};
    const late = { writer: 0, seen: 0 };
    function* comesLater(): Part {
      late.writer = (yield* lockState(r1, bed)).writer;
      answers.r1 = yield () => r1.core.lock_read(bed.pgt);
      late.seen = yield* flag(r1);
      answers.r1end = yield () => r1.core.unlock_read(bed.pgt);
    }
    return {
      programs: {
        R0: calls(answers, {
          r0: () => r0.core.lock_read(bed.pgt),
          r0end: () => r0.core.unlock_read(bed.pgt),
        }),
        W: calls(answers, {
          w: () => w.core.lock_write(bed.pgt),
          mark: () => (raiseFlag(w, 1)(), 0),
          wend: () => w.core.unlock_write(bed.pgt),
        }),
        R1: comesLater(),
      },
      forbidden: () =>
        forbidden(
          [Object.values(answers).some((result) => result !== 0), JSON.stringify(answers)],
          [late.writer === w.thread + 1 && late.seen === 0, "a late reader went before the writer"],
        ),
    };
  },
});

/** A reader is waiting while a writer has the lock; who is next? `again`: the same writer, or another one. */
function readerNext(name: string, again: boolean): Litmus {
  const rival = again ? "W0" : "W1";
  return litmus({
    name,
    title: `a reader waits, and ${again ? "the writer comes again" : "another writer waits too"}: the reader is next`,
    agents: again ? ["W0", "R"] : ["W0", "R", "W1"],
    mutants: ["writers-take-any-turn"],
    setup: tableOnly,
    run(bed, agents) {
      const [w0, r, w1] = [agent(agents, "W0"), agent(agents, "R"), agent(agents, rival)];
      const answers: Answers = {};
      const seen = { waiting: 0, next: 0 };
      function* second(): Part {
        answers.second = yield () => w1.core.lock_write(bed.pgt);
        seen.next = yield* flag(w1);
        answers.secondEnd = yield () => w1.core.unlock_write(bed.pgt);
      }
      function* first(): Part {
        answers.first = yield () => w0.core.lock_write(bed.pgt);
        seen.waiting = (yield* lockState(w0, bed)).waiting;
        yield raiseFlag(w0, 1); // the first writer was here
        answers.firstEnd = yield () => w0.core.unlock_write(bed.pgt);
        if (again) yield* second();
      }
      function* reads(): Part {
        answers.read = yield () => r.core.lock_read(bed.pgt);
        const before = yield* flag(r);
        yield raiseFlag(r, before + 2); // the reader was here
        answers.readEnd = yield () => r.core.unlock_read(bed.pgt);
      }
      return {
        programs: { W0: first(), R: reads(), ...(again ? {} : { W1: second() }) },
        forbidden: () =>
          forbidden(
            [Object.values(answers).some((result) => result !== 0), JSON.stringify(answers)],
            [seen.waiting > 0 && seen.next === 1, "a writer went before the reader that waited"],
          ),
      };
    },
  });
}

export const exclusion: readonly Litmus[] = [
  writers,
  readersAndWriter,
  stripes,
  writerFirst,
  readerNext("K5", true),
  readerNext("K5b", false),
];
