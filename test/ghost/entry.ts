/** Descriptors, as the architecture lays them out (Arm ARM D8.3): just what the comparison needs. */
import type { Entry } from "./machine.ts";

const R = 1 << 6;
const W = 1 << 7;
const AF = 1 << 10;
const XN = 1 << 22; // bit 54
const STATE_SHIFT = 23; // bits 56:55
/** Bits 47:12. */
const PAGE_HIGH = 0xffff;

export const isValid = ({ low }: Entry): boolean => (low & 1) !== 0;

/** Page frame that a leaf maps; pages of 4 KiB. */
export const frameOf = ({ low, high }: Entry): number =>
  (high & PAGE_HIGH) * 2 ** 20 + (low >>> 12);

/** Pages of 4 KiB that it covers. */
export const pagesOf = ({ level }: Entry): number => 512 ** (3 - level);

/** Stage 2: R 4, W 2, X 1. */
export const protOf = ({ low, high }: Entry): number =>
  ((low & R) !== 0 ? 4 : 0) | ((low & W) !== 0 ? 2 : 0) | ((high & XN) !== 0 ? 0 : 1);

export const isYoung = ({ low }: Entry): boolean => (low & AF) !== 0;

export const stateOf = ({ high }: Entry): number => (high >>> STATE_SHIFT) & 3;

/** All 64 bits. */
export const wordOf = ({ low, high }: Entry): bigint => (BigInt(high) << 32n) | BigInt(low >>> 0);

/** Hypervisor stage 1: writable, and not executable (AP 7:6 is 1; D8.4). */
export const isHypRw = ({ low, high }: Entry): boolean =>
  ((low >>> 6) & 3) === 1 && (high & XN) !== 0;
