/**
 * Grouped listing of an imported regime: neighbouring entries of one level with the same attribute bits make one range.
 * Unlike the listing of an engine's own table it keeps every attribute bit, known or not.
 */
import type { Batch } from "../iterate.ts";
import { isValid, levelShift } from "../decode.ts";
import type { Regime } from "./format.ts";
import type { Descriptors } from "./relocate.ts";

/** Neighbouring leaves, or neighbouring invalid entries that are not zero. */
export interface ImageRange {
  readonly kind: "leaf" | "invalid";
  /** First input address; {@link Regime.iaBase} not added. */
  readonly ia: number;
  /** Bytes. */
  readonly size: number;
  readonly level: number;
  readonly entries: number;
  /** Leaves: every bit but the address. Invalid entries: all of it. */
  readonly attributes: bigint;
  /** Leaves: first output address, and whether the output addresses run on without a gap. */
  readonly pa?: number;
  readonly contiguous?: boolean;
}

type Open = { -readonly [K in keyof ImageRange]: ImageRange[K] };

/** What the newest entry of the open range was, so that the next one can be compared without decoding it. */
interface Last {
  low: number;
  high: number;
}

/** Groups a listing of leaves and invalid entries. */
export function* imageRanges(
  source: Iterable<Batch>,
  regime: Regime,
  descriptors: Descriptors,
): Generator<ImageRange, void, undefined> {
  const last: Last = { low: 0, high: 0 };
  let open: Open | undefined;
  for (const batch of source) {
    for (let i = 0; i < batch.length; i++) {
      if (open !== undefined && adjoins(open, batch, i)) {
        if (runsOn(open, last, batch, i) || sameAttributes(open, batch, i, descriptors)) {
          extend(open, last, batch, i, regime);
          continue;
        }
      }
      if (open !== undefined) yield open;
      open = begin(batch, i, regime, descriptors);
      last.low = batch.low(i);
      last.high = batch.high(i);
    }
  }
  if (open !== undefined) yield open;
}

function adjoins(open: Open, batch: Batch, i: number): boolean {
  return open.ia + open.size === batch.address(i) && open.level === batch.level(i);
}

/** Whether entry `i` is what the open range would go on with: the cheap and usual case. */
function runsOn(open: Open, last: Last, batch: Batch, i: number): boolean {
  if (open.kind === "invalid") return batch.low(i) === last.low && batch.high(i) === last.high;
  if (!open.contiguous) return false;
  const step = open.size / open.entries;
  const low = last.low + (step % 2 ** 32);
  const high = last.high + Math.floor(step / 2 ** 32) + (low >= 2 ** 32 ? 1 : 0);
  return batch.low(i) === low % 2 ** 32 && batch.high(i) === high;
}

function sameAttributes(open: Open, batch: Batch, i: number, descriptors: Descriptors): boolean {
  const entry = entryOf(batch, i);
  return (
    kindOf(batch, i) === "leaf" &&
    open.attributes === descriptors.attributes(entry, open.size / open.entries)
  );
}

function extend(open: Open, last: Last, batch: Batch, i: number, regime: Regime): void {
  if (open.kind === "leaf" && open.contiguous) open.contiguous = runsOn(open, last, batch, i);
  open.size += 2 ** levelShift(regime.pageShift, open.level);
  open.entries++;
  last.low = batch.low(i);
  last.high = batch.high(i);
}

function begin(batch: Batch, i: number, regime: Regime, descriptors: Descriptors): Open {
  const entry = entryOf(batch, i);
  const level = batch.level(i);
  const size = 2 ** levelShift(regime.pageShift, level);
  const place = { ia: batch.address(i), size, level, entries: 1 };
  if (kindOf(batch, i) === "invalid") return { kind: "invalid", ...place, attributes: entry };
  const attributes = descriptors.attributes(entry, size);
  return {
    kind: "leaf",
    ...place,
    attributes,
    pa: descriptors.address(entry, size),
    contiguous: true,
  };
}

function kindOf(batch: Batch, i: number): "leaf" | "invalid" {
  return isValid(batch.low(i)) ? "leaf" : "invalid";
}

function entryOf(batch: Batch, i: number): bigint {
  return (BigInt(batch.high(i)) << 32n) | BigInt(batch.low(i));
}
