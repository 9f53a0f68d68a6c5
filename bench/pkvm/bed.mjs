// @ts-check
/**
 * Two guests with the same memory, one on a page table that the host keeps, one behind a hypervisor that is asked for every page:
 *
 *     IPA  1 GiB ...      PA  4 GiB + the same offset, memory of the machine      above: pages for the hypervisor
 */
import { Prot } from "stage2";
import { BLOCK, GIB, PAGE, shuffle } from "../bed.mjs";

/** @typedef {import("stage2").Engine} Engine */
/** @typedef {import("stage2").Stage2 | import("stage2").PkvmStage2} Table */
/** @typedef {{ name: "plain" | "pkvm", table: Table }} Kind */

export const IPA = GIB;
export const PA = 4 * GIB;
export const PROT = Prot.RW;

/** Mappings that a figure is taken with. */
export const COUNTS = [1000, 100_000, 1_000_000];
export const ORDERS = /** @type {const} */ (["sequential", "random"]);

/** The most that is shared, and an eighth of the whole for the hypervisor's own. */
const MEMORY = 5 * GIB;
/** The engine's own: tables of both kinds, the host's records, the hypervisor's. */
export const TABLE_PAGES = 65_536;

/** A machine with room for a million pages. @param {Engine} engine */
export function machine(engine) {
  return engine.pkvm({ memory: [{ pa: PA, size: MEMORY }] });
}

/** A table of each kind, both with locks that nobody else wants. @param {Engine} engine @param {import("stage2").Pkvm} pkvm @returns {Kind[]} */
export function bothKinds(engine, pkvm) {
  return [
    { name: "plain", table: engine.stage2({ ipaBits: 40, locking: true }) },
    { name: "pkvm", table: pkvm.stage2() },
  ];
}

/** Offsets of pages, or blocks, in the order in which they are used. @param {number} count @param {typeof ORDERS[number]} order @param {number} [size] */
export function offsets(count, order, size = PAGE) {
  const ascending = Float64Array.from({ length: count }, (_, i) => i * size);
  return order === "random" ? shuffle(ascending) : ascending;
}

export { BLOCK, GIB, PAGE };
