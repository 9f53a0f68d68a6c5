/** What hypercalls are made of: arguments that are any 64-bit words, and results that are errnos. */

/** Arguments of a hypercall: u64 words, whatever the caller put there. */
export type Words = readonly bigint[];

/** A list of pages for the hypervisor, as the host wrote it down. `count` may lie. */
export interface Memcache {
  readonly count: bigint;
  readonly pages: Words;
}

export const EPERM = 1;
export const ENOENT = 2;
export const E2BIG = 7;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const EINVAL = 22;
export const ERANGE = 34;
export const EHWPOISON = 133;

/** Argument `index`; a caller that says less says 0. */
export const word = (args: Words, index: number): bigint => args[index] ?? 0n;

/** The same as a number if it is below `limit` (at most 2^53), else undefined. */
export function below(value: bigint, limit: number): number | undefined {
  return value < BigInt(limit) ? Number(value) : undefined;
}
