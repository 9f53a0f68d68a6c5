/**
 * The host's own stage 2: an identity map that is made when somebody asks. What is not the host's carries an annotation and is never
 * mapped; everything else may be, at any time.
 */
import type { Page } from "./memory.ts";
import type { Rule, State } from "./state.ts";
import { EINVAL, EPERM, below, word } from "./words.ts";

const OWNERS = 2n;

/** 0 also where the host had it already: what was there is not the rules' matter. */
export const hostAbort: Rule = (state, { args }) => {
  const { paBits, pageShift } = state.world;
  const pa = below(word(args, 0), 2 ** paBits);
  if (pa === undefined) return -EINVAL;
  const page = state.memory.page(Math.floor(pa / 2 ** pageShift));
  return page !== undefined && page.annotation !== 0n ? -EPERM : 0;
};

/** Pages of a range in bytes, and whether all of it is memory; or -EINVAL. */
function spanOf(state: State, pa: bigint, bytes: bigint): readonly Page[] | undefined | number {
  const { paBits, pageShift } = state.world;
  const page = 1n << BigInt(pageShift);
  if (bytes === 0n || (pa | bytes) % page !== 0n || pa + bytes > 1n << BigInt(paBits))
    return -EINVAL;
  const pages = state.memory.range(pa / page, bytes / page);
  return typeof pages === "number" ? undefined : pages;
}

/** -EPERM for what others own; what is mapped already is not the rules' matter, nor what is no memory. */
export const hostMap: Rule = (state, { args }) => {
  const pages = spanOf(state, word(args, 0), word(args, 1));
  if (typeof pages === "number") return pages;
  return pages?.some(({ annotation }) => annotation !== 0n) ? -EPERM : 0;
};

/** Who owns what, in the table alone (P-6.11). */
export const setOwner: Rule = (state, { args }) => {
  const owner = word(args, 2);
  if (owner >= OWNERS) return -EINVAL;
  const pages = spanOf(state, word(args, 0), word(args, 1));
  if (typeof pages === "number") return pages;
  if (pages === undefined) return -EPERM;
  for (const page of pages) state.memory.change(page, { annotation: owner << 2n });
  return 0;
};
