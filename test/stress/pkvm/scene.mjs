// @ts-check
/**
 * Where everything is. A machine for each generation, each with two guests of the host's kernel over the same few pages of memory, and a
 * machine whose host is hostile without bounds: its guests are made by bare hypercalls.
 *
 *     gfn        0 ........ 511    512 ...... 1023                hot pages are 16 of each block, at its start and end
 *     memory     block 0           block 1                        of each machine; behind it the pages of the host's kernel
 *
 * Guest page n has memory page n, or page n of the other block: so pages are shared more than once, also by blocks.
 */
export const PAGE = 4096;
export const BLOCK_PAGES = 512;
export const BLOCK = BLOCK_PAGES * PAGE;
export const BLOCKS = 2;
export const PAGES = BLOCKS * BLOCK_PAGES;
/** Hot pages of a block. */
export const HOT = 16;

/** @typedef {(typeof MACHINES)[number]} Mode */
export const MACHINES = /** @type {const} */ (["seed", "default", "hostile"]);
/** Machines with guests of the host's kernel. */
export const KEPT = 2;
export const GUESTS = 2;
/** The one whose host makes any calls. */
export const HOSTILE = KEPT;

const APART = 2 ** 32;
const START = 2 ** 35;
const STOCK_PAGES = 4096;

/** Physical address of a machine's memory. @param {number} machine */
export const memoryOf = (machine) => START + machine * APART;
/** Frame of a page of a machine's memory. @param {number} machine @param {number} page */
export const frameOf = (machine, page) => memoryOf(machine) / PAGE + page;

/** How a machine is made. @param {number} machine @returns {import("stage2").PkvmOptions} */
export function optionsOf(machine) {
  const mode = MACHINES[machine];
  const pa = memoryOf(machine);
  const stock = { pa: pa + 4 * BLOCK, size: STOCK_PAGES * PAGE };
  return {
    generation: mode === "hostile" ? "newest" : mode,
    memory: [{ pa, size: BLOCKS * BLOCK }, stock],
    hostPages: stock,
  };
}

/** A hot page: the first and the last of a block are among them. @param {number} block @param {number} index below HOT */
export function hotPage(block, index) {
  return block * BLOCK_PAGES + (index < HOT / 2 ? index : BLOCK_PAGES - HOT + index);
}

/** Memory page behind a guest page, in one of two ways. @param {number} page @param {number} variant */
export const memoryPage = (page, variant) => (page + (variant & 1) * BLOCK_PAGES) % PAGES;
