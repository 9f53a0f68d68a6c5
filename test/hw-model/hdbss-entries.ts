/** Entries of the dirty-state structure (FEAT_HDBSS), and where the tests have it. */
import { DATA } from "./machine.ts";

/** Behind the pages of the guest. */
export const LIST = DATA.pa + 0x1_0000;
/** Field INDEX of HDBSSPROD_EL2 and HACDBSCONS_EL2. */
export const INDEX = 0x7ffffn;

/** An entry: valid in bit 0, level in 3:1, IPA in 55:12. */
export function entryFor(ipa: number, level: number): bigint {
  return BigInt(ipa) | (BigInt(level & 7) << 1n) | 1n;
}

/** A base register: a structure of 4 KiB << size. */
export function structure(size = 0, base = LIST): bigint {
  return BigInt(base) | BigInt(size);
}
