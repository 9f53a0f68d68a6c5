// @ts-check
/** What the threads agree on. */
export const PAGE = 4096;
/** The guest's memory: 768 pages. */
export const RAM = { ipa: 0x4000_0000, pa: 0x8000_0000, size: 768 * PAGE };
/** Pages that a vCPU stores to in one round. */
export const WINDOW = 48;

const nobody = new Int32Array(new SharedArrayBuffer(4));

/** Blocks this thread, as a worker may. @param {number} ms */
export function sleep(ms) {
  Atomics.wait(nobody, 0, 0, ms);
}
