/** Makes the runs of an ownership map: states of host and hypervisor from one list, guests' leaves from another. */
import {
  type GuestLeaf,
  type GuestShare,
  type OwnershipRun,
  type PlainRun,
  ownerOf,
} from "./map.ts";

/**
 * Cuts `plain` (ascending) where guests' leaves begin and end, and joins again what has the same answer. Time goes with the
 * number of runs and leaves, not with the memory they stand for.
 */
export function mergeRuns(
  plain: Iterable<PlainRun>,
  leaves: readonly GuestLeaf[],
  pageSize: number,
): OwnershipRun[] {
  const sorted = [...leaves].sort((a, b) => a.pa - b.pa);
  const runs: OwnershipRun[] = [];
  let active: GuestLeaf[] = [];
  let next = 0;
  for (const run of plain) {
    const end = run.pa + run.size;
    for (let pa = run.pa; pa < end;) {
      active = active.filter((leaf) => leaf.pa + leaf.size > pa);
      for (; next < sorted.length && (sorted[next] as GuestLeaf).pa <= pa; next++) {
        const leaf = sorted[next] as GuestLeaf;
        if (leaf.pa + leaf.size > pa) active.push(leaf);
      }
      const until = Math.min(
        end,
        sorted[next]?.pa ?? end,
        ...active.map((leaf) => leaf.pa + leaf.size),
      );
      const guests = sharesOf(active, pa, pageSize);
      append(runs, { ...run, pa, size: until - pa, guests, owner: ownerOf(run, guests) }, pageSize);
      pa = until;
    }
  }
  return runs;
}

/** The leaves over one page, by guest. */
function sharesOf(active: readonly GuestLeaf[], pa: number, pageSize: number): GuestShare[] {
  if (active.length === 0) return [];
  const shares = new Map<string, GuestShare>();
  for (const { handle, state, gfn, pa: start } of active) {
    const key = `${handle} ${state}`;
    const before = shares.get(key);
    if (before === undefined) {
      shares.set(key, { handle, state, leaves: 1, gfn: gfn + (pa - start) / pageSize });
    } else shares.set(key, { handle, state, leaves: before.leaves + 1, gfn: undefined });
  }
  return [...shares.values()].sort((a, b) => a.handle - b.handle);
}

/** Adds a run, to the last one if both have the same answer. */
function append(runs: OwnershipRun[], run: OwnershipRun, pageSize: number): void {
  const last = runs.at(-1);
  if (last === undefined || last.pa + last.size !== run.pa || !sameAnswer(last, run)) {
    runs.push(run);
    return;
  }
  const pages = last.size / pageSize;
  const guests = last.guests.map((share, i) => {
    const other = (run.guests[i] as GuestShare).gfn;
    const ascends = share.gfn !== undefined && other === share.gfn + pages;
    return { ...share, gfn: ascends ? share.gfn : undefined };
  });
  runs[runs.length - 1] = { ...last, size: last.size + run.size, guests };
}

/** Whether two runs have the same states, counts and guests. Which page of the guest it is does not matter. */
export function sameAnswer(a: OwnershipRun, b: OwnershipRun): boolean {
  return (
    a.host === b.host &&
    a.hyp === b.hyp &&
    a.references === b.references &&
    a.count === b.count &&
    a.guests.length === b.guests.length &&
    a.guests.every((share, i) => sameShare(share, b.guests[i] as GuestShare))
  );
}

function sameShare(a: GuestShare, b: GuestShare): boolean {
  return a.handle === b.handle && a.state === b.state && a.leaves === b.leaves;
}
