/** What a statement did to memory: two ownership maps side by side. */
import { type OwnershipMap, type OwnershipRun, runAt } from "../ownership/map.ts";
import { sameAnswer } from "../ownership/merge.ts";
import type { PageChange, PageView } from "./document.ts";

/** Addresses [from, to). */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/**
 * Pages that changed, and those that the statement was about whether they did or not: `concerned`. Ascending, alike neighbours
 * together.
 */
export function changesBetween(
  before: OwnershipMap,
  after: OwnershipMap,
  concerned: readonly Span[],
): PageChange[] {
  const changes: PageChange[] = [];
  for (const { from, to } of pieces(before, after, concerned)) {
    const [old, now] = [runAt(before, from), runAt(after, from)] as [OwnershipRun, OwnershipRun];
    const changed = !sameAnswer(old, now);
    if (!changed && !concerned.some((span) => span.from <= from && from < span.to)) continue;
    append(changes, { pa: from, size: to - from, before: view(old), after: view(now), changed });
  }
  return changes;
}

/** Memory in pieces that are alike before, alike after, and concerned as a whole or not at all. */
function pieces(before: OwnershipMap, after: OwnershipMap, concerned: readonly Span[]): Span[] {
  const cuts = new Set<number>();
  for (const { runs } of [before, after])
    for (const { pa, size } of runs) cuts.add(pa).add(pa + size);
  for (const { from, to } of concerned) cuts.add(from).add(to);
  const sorted = [...cuts].sort((a, b) => a - b);
  return sorted
    .slice(0, -1)
    .map((from, i) => ({ from, to: sorted[i + 1] as number }))
    .filter(({ from }) => runAt(before, from) !== undefined);
}

function append(changes: PageChange[], change: PageChange): void {
  const last = changes.at(-1);
  const follows = last !== undefined && last.pa + last.size === change.pa;
  const alike =
    follows && sameView(last.before, change.before) && sameView(last.after, change.after);
  if (alike) changes[changes.length - 1] = { ...last, size: last.size + change.size };
  else changes.push(change);
}

function view({ host, hyp, count, references, guests }: OwnershipRun): PageView {
  const shares = guests.map(({ handle, state, leaves }) => ({ handle, state, leaves }));
  return { host, hyp, count, references, guests: shares };
}

function sameView(a: PageView, b: PageView): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
