// @ts-check
/** What mappings take of memory: the host's notes, the tables, the hypervisor's records of pages. */
import { BLOCK, GIB, IPA, PA, PAGE, PROT, COUNTS, machine, offsets } from "./bed.mjs";

/** @typedef {{ name: string, value: number, unit: string }} Fact */

/** Blocks of 2 MiB that fit in what the bed has. */
const BLOCKS = (4 * GIB) / BLOCK;

/** Bytes of the engine's memory, which it hands out in units of 4 KiB. @param {import("stage2").Engine} engine @returns {Fact[]} */
export function memoryFacts(engine) {
  const used = () => engine.memoryUsage().used * PAGE;
  const pkvm = machine(engine);
  /** @type {Fact[]} */
  const facts = [
    { name: "memory: machine, a GiB of it", value: used() / 5, unit: "bytes" },
    ...COUNTS.flatMap((count) => [
      ...shared(pkvm, used, count, PAGE, "sequential"),
      ...shared(pkvm, used, count, PAGE, "random"),
    ]),
    ...shared(pkvm, used, BLOCKS, BLOCK, "sequential"),
  ];
  pkvm.dispose();
  return facts;
}

/** @param {import("stage2").Pkvm} pkvm @param {() => number} used @param {number} count @param {number} size @param {"sequential" | "random"} order @returns {Fact[]} */
function shared(pkvm, used, count, size, order) {
  const s2 = pkvm.stage2();
  const before = used();
  for (const offset of offsets(count, order, size))
    s2.raw.map(IPA + offset, size, PA + offset, PROT);
  const { mappings, treePages, treeHeight } = s2.statistics;
  const name = `memory: ${count} ${size === PAGE ? "pages" : "blocks"}, ${order}`;
  const notes = treePages * PAGE;
  const all = used() - before;
  s2.dispose();
  return [
    { name: `${name}: notes of a mapping`, value: notes / mappings, unit: "bytes" },
    { name: `${name}: tables of a mapping`, value: (all - notes) / mappings, unit: "bytes" },
    { name: `${name}: height of the tree`, value: treeHeight, unit: "levels" },
  ];
}
