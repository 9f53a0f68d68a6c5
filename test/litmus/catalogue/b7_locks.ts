/**
 * B7: the words of mmu_lock. What is inside the lock here is one word that everybody can load and store and that nothing else
 * protects; two who are inside together lose an update of it, or see it change.
 */
import type { Core } from "../../../src/_abi.ts";
import { type Litmus, type Program, litmus } from "../../../src/explorer/litmus.ts";
import { type Answers, Bed, agent, forbidden } from "./support.ts";

/** Loads the word, and stores it one higher. */
function* increment(core: Core): Generator<() => number | void, void, number> {
  const before = yield () => core.pool_budget();
  yield () => core.pool_set_budget(before + 1);
}

function* writer(core: Core, pgt: number, answers: Answers, name: string): Program {
  answers[name] = yield () => core.lock_write(pgt);
  if (answers[name] !== 0) return;
  yield* increment(core);
  answers[`${name} ends`] = yield () => core.unlock_write(pgt);
}

/** Takes the lock only if it can be had at once. */
function* visitor(core: Core, pgt: number, answers: Answers, name: string): Program {
  answers[name] = yield () => core.lock_try_write(pgt);
  if (answers[name] !== 0) return;
  yield* increment(core);
  answers[`${name} ends`] = yield () => core.unlock_write(pgt);
}

function* reader(core: Core, pgt: number, answers: Answers, name: string): Program {
  answers[name] = yield () => core.lock_read(pgt);
  if (answers[name] !== 0) return;
  answers[`${name} first`] = yield () => core.pool_budget();
  answers[`${name} again`] = yield () => core.pool_budget();
  answers[`${name} ends`] = yield () => core.unlock_read(pgt);
}

type Role = typeof writer;

/** Agents of these roles, one each; all ask for the lock of one table once. */
function crowd(
  roles: Readonly<Record<string, Role>>,
  suffix: string,
  title: string,
  mutants: readonly string[],
): Litmus {
  return litmus({
    name: `E3${suffix}`,
    title,
    agents: Object.keys(roles),
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      const [first] = Object.values(agents);
      return { bed, start: first?.core.pool_budget() ?? 0, first };
    },
    run({ bed, start, first }, agents) {
      const answers: Answers = {};
      const programs = Object.entries(roles).map(([name, role]) => [
        name,
        role(agent(agents, name).core, bed.pgt, answers, name),
      ]);
      return {
        programs: Object.fromEntries(programs) as Record<string, Program>,
        forbidden() {
          const entered = Object.keys(roles).filter((name) => answers[name] === 0);
          const wrote = entered.filter((name) => roles[name] !== reader).length;
          const end = (first?.core.pool_budget() ?? 0) - start;
          const torn = entered.find(
            (name) => answers[`${name} first`] !== answers[`${name} again`],
          );
          const stuck = entered.find((name) => answers[`${name} ends`] !== 0);
          const waits = Object.keys(roles).find(
            (name) => roles[name] !== visitor && answers[name] !== 0,
          );
          return forbidden(
            [
              waits !== undefined,
              `${waits} asked for the lock and was told ${answers[waits ?? ""]}`,
            ],
            [end !== wrote, `${wrote} writers were inside, and the word has risen by ${end}`],
            [torn !== undefined, `the word changed while reader ${torn} was inside`],
            [stuck !== undefined, `${stuck} could not leave: ${answers[`${stuck} ends`]}`],
          );
        },
      };
    },
  });
}

export const lockWords: readonly Litmus[] = [
  crowd({ W0: writer, W1: writer }, "", "two writers are never inside together", [
    "lock-taken-by-plain-store",
  ]),
  crowd({ W0: writer, W1: visitor, W2: visitor }, "/try", "who only tries does not open the lock", [
    "lock-taken-by-plain-store",
    "unlock-by-whoever",
  ]),
  crowd({ W0: writer, R0: reader }, "/readers", "no reader is inside with a writer", [
    "writer-ignores-readers",
  ]),
];
