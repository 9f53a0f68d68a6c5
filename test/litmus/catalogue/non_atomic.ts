/**
 * The same tests on tables of the non-atomic option, which is there to show why entries are changed by compare-exchange: its
 * attribute changes load the entry, and store it without looking again. Which promises are lost is not written down but
 * found: every test that speaks of such a change is explored again, and those that see something forbidden are listed.
 *
 *   F, of L2                       V1
 *   reads R, old
 *                                  its walk sets the access flag
 *   stores RW, old                                                      the flag is gone, and nobody reported it
 */
import type { Engine, Stage2Options } from "../../../src/index.ts";
import type { Agent, Litmus } from "../../../src/explorer/litmus.ts";
import type { Agents } from "./support.ts";

/** The test, with every page table that it makes non-atomic. */
export function onNonAtomicTable(test: Litmus): Litmus {
  return {
    ...test,
    name: `${test.name}/non-atomic`,
    mutants: [],
    setup: (agents, lab) => test.setup(withNonAtomicTables(agents), lab),
  };
}

function withNonAtomicTables(agents: Agents): Agents {
  const entries = Object.entries(agents).map(([name, agent]): [string, Agent] => [
    name,
    { ...agent, engine: makingNonAtomic(agent.engine) },
  ]);
  return Object.fromEntries(entries);
}

/** The engine with one method replaced; an engine has private fields, so its own methods run on itself. */
function makingNonAtomic(engine: Engine): Engine {
  return new Proxy(engine, {
    get(target, property) {
      if (property === "stage2")
        return (options: Stage2Options = {}) => target.stage2({ ...options, nonAtomic: true });
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}
