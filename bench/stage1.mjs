// @ts-check
/** What a guest's kernel does: stage-1 tables of its own, in its memory. 4 KiB pages, 48-bit addresses, 4 levels. */
import { GIB, PAGE } from "./bed.mjs";

const ENTRIES = 512;
const TABLE_REACH = ENTRIES * PAGE;

/** A table: valid, type. A page: also inner shareable, access flag; AttrIndx 0, EL1 reads and writes. */
const TABLE = 0b11n;
const LEAF = TABLE | (0b11n << 8n) | (1n << 10n);

/** TCR_EL1: T0SZ 16, write-back, inner shareable, EPD1, IPS 40 bits. */
const TCR = 16n | (0b01n << 8n) | (0b01n << 10n) | (0b11n << 12n) | (1n << 23n) | (2n << 32n);
/** MAIR_EL1: attribute 0 is Normal memory, write-back. */
const MAIR = 0xffn;
/** SCTLR_EL1: M, C. */
const SCTLR = 0b101n;

/**
 * @typedef {object} Stage1
 * @property {number} va first address, a multiple of 2 MiB
 * @property {number} ipa what it translates to; the others follow
 * @property {number} size a multiple of 2 MiB; all in one GiB of addresses
 * @property {number} tables intermediate physical address of the tables
 */

/** Bytes of tables for a size. @param {number} size */
export function stage1Bytes(size) {
  return (3 + size / TABLE_REACH) * PAGE;
}

/**
 * Writes the tables: levels 0, 1 and 2 have a page each, those of level 3 follow.
 *
 * @param {Uint8Array} memory where the tables lie
 * @param {Stage1} stage1
 * @returns {Partial<import("stage2").Registers>} registers that make a vCPU use them
 */
export function writeStage1(memory, { va, ipa, size, tables }) {
  const words = new BigUint64Array(memory.buffer, memory.byteOffset, stage1Bytes(size) / 8);
  /** @param {number} page @param {number} index @param {number} address @param {bigint} bits */
  const put = (page, index, address, bits) => {
    words[page * ENTRIES + index] = BigInt(address) | bits;
  };
  put(0, Math.floor(va / (ENTRIES * GIB)) % ENTRIES, tables + PAGE, TABLE);
  put(1, Math.floor(va / GIB) % ENTRIES, tables + 2 * PAGE, TABLE);
  const first = Math.floor((va % GIB) / TABLE_REACH);
  for (let i = 0; i < size / TABLE_REACH; i++) put(2, first + i, tables + (3 + i) * PAGE, TABLE);
  for (let i = 0; i < size / PAGE; i++) {
    words[3 * ENTRIES + i] = BigInt(ipa + i * PAGE) | LEAF;
  }
  return { sctlrEl1: SCTLR, tcrEl1: TCR, mairEl1: MAIR, ttbr0El1: BigInt(tables) };
}
