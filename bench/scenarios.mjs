// @ts-check
/** Scenarios one after the other, each in an engine of its own: none finds memory as another one has left it. */
import { Engine } from "stage2";
import { selects } from "./options.mjs";

/**
 * @template Row, Fact
 * @typedef {object} Suite
 * @property {readonly { name: string, measure: (engine: Engine, reps: number) => readonly Row[] | Promise<readonly Row[]> }[]} scenarios
 * @property {(engine: Engine) => Fact[]} memoryFacts what memory is spent on, measured as "memory"
 * @property {number} tablePages of each engine
 */

/**
 * Those that `only` selects.
 *
 * @template Row, Fact
 * @param {Suite<Row, Fact>} suite
 * @param {string} only
 * @param {number} reps
 * @param {(done: number, total: number) => void} progress
 * @returns {Promise<{ rows: Row[], facts: Fact[] }>}
 */
export async function scenarioRows({ scenarios, memoryFacts, tablePages }, only, reps, progress) {
  const selected = scenarios.filter(({ name }) => selects(only, name));
  const rows = [];
  for (const [i, { measure }] of selected.entries()) {
    progress(i, selected.length);
    const engine = await Engine.create({ maxTablePages: tablePages, patience: 20_000 });
    rows.push(...(await measure(engine, reps)));
    engine.dispose();
  }
  progress(selected.length, selected.length);
  if (!"memory".startsWith(only)) return { rows, facts: [] };
  const engine = await Engine.create({ maxTablePages: tablePages });
  const facts = memoryFacts(engine);
  engine.dispose();
  return { rows, facts };
}
