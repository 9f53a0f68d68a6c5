/** One hypercall of a run, and when the hypervisor itself may make it. */
import { HYPERCALL, OWNER } from "../../src/pkvm/_abi.ts";
import { type Page, SHARED_BORROWED } from "./model/memory.ts";
import type { State } from "./model/state.ts";
import { type Memcache, type Words, word } from "./model/words.ts";

export interface Step {
  /** The CPU that calls. */
  readonly cpu: number;
  /** {@link HYPERCALL}, or a number that is none. */
  readonly number: number;
  readonly args: Words;
  readonly memcache?: Memcache | undefined;
}

/** Bytes that a test has the hypervisor map or own at a time. */
const MOST_BYTES = 4n << 20n;
const RWX = 7n;
const RW = 6n;

/**
 * Hosts and guests may call whatever they like. What the hypervisor does of its own accord keeps to its contract: it gives back only what
 * it took, and writes nothing into the host's table that the records do not say.
 */
export function mayCall(state: State, { number, args }: Step): boolean {
  if (number === HYPERCALL.UNPIN) return !takesPinsOfVms(state, args);
  if (number === HYPERCALL.SET_OWNER) return saysTheSame(state, args);
  if (number === HYPERCALL.HOST_MAP) return isOfOneKind(state, args);
  return true;
}

function takesPinsOfVms(state: State, args: Words): boolean {
  const pages = state.memory.range(word(args, 0), word(args, 1));
  if (typeof pages === "number") return false;
  const pinned = new Map<number, number>();
  for (const { shared } of state.vms.values())
    pinned.set(shared.pfn, (pinned.get(shared.pfn) ?? 0) + 1);
  return pages.some(({ pfn, references }) => {
    const byVms = pinned.get(pfn) ?? 0;
    return byVms > 0 && references <= byVms;
  });
}

function pagesOf(state: State, args: Words) {
  const shift = BigInt(state.world.pageShift);
  return state.memory.range(word(args, 0) >> shift, word(args, 1) >> shift);
}

function saysTheSame(state: State, args: Words): boolean {
  const owner = word(args, 2);
  const pages = pagesOf(state, args);
  if (owner > BigInt(OWNER.HYP)) return true;
  if (typeof pages === "number") return !meetsNobodys(state, args);
  const isSo = ({ annotation, host }: Page): boolean =>
    annotation === owner << 2n && host !== SHARED_BORROWED;
  return pages.every(isSo);
}

/** Whether a range in bytes meets memory that is nobody's: the rules do not say whose it is. */
function meetsNobodys(state: State, args: Words): boolean {
  const page = 2 ** state.world.pageShift;
  const [first, end] = [word(args, 0), word(args, 0) + word(args, 1)];
  return state.memory.regions.some(
    (region) =>
      region.noMap && BigInt(region.first * page) < end && BigInt(region.end * page) > first,
  );
}

function isOfOneKind(state: State, args: Words): boolean {
  const [pa, bytes, prot] = [word(args, 0), word(args, 1), word(args, 2)];
  const page = 1n << BigInt(state.world.pageShift);
  if ((pa | bytes) % page !== 0n) return true;
  if (pa + bytes > 1n << BigInt(state.world.paBits)) return true;
  if (bytes > MOST_BYTES) return false;
  const [first, end] = [Number(pa / page), Number((pa + bytes) / page)];
  const met = state.memory.regions.filter((region) => region.first < end && region.end > first);
  const [region] = met;
  if (region === undefined) return prot === RW;
  return region.first <= first && region.end >= end && !region.noMap && prot === RWX;
}
