/**
 * The guest's address space as cells of equal size, each saying what maps it. Stretches far apart are separate regions;
 * a region with more pages than cells shows several pages in one, by the first that is mapped.
 */
import type { PlainLeaf } from "./leaves.ts";

/** A stretch of the address space. */
export interface Region {
  readonly start: number;
  /** Bytes that one cell stands for. */
  readonly cell: number;
  /** Runs of equal cells, as pairs: what ({@link cellCode}), how many. */
  readonly runs: readonly number[];
}

/** Distance from which two leaves are in different regions. */
const GAP = 2 ** 26;
const MAX_CELLS = 2 ** 15;
const UNMAPPED = 0;

/** 0 for nothing, else 1 + R, W, X in bits 2:0, the access flag in bit 3, the level in bits 5:4. */
export function cellCode({ prot, accessed, level }: PlainLeaf): number {
  return 1 + prot + (accessed ? 8 : 0) + level * 16;
}

/** Regions of `leaves`, which ascend. */
export function addressMap(leaves: readonly PlainLeaf[], pageShift: number): Region[] {
  return clusters(leaves).map((cluster) => regionOf(cluster, pageShift));
}

function clusters(leaves: readonly PlainLeaf[]): PlainLeaf[][] {
  const found: PlainLeaf[][] = [];
  let end = -Infinity;
  for (const leaf of leaves) {
    if (leaf.ipa - end >= GAP) found.push([]);
    found.at(-1)?.push(leaf);
    end = leaf.ipa + leaf.size;
  }
  return found;
}

function regionOf(leaves: readonly PlainLeaf[], pageShift: number): Region {
  const first = leaves[0] as PlainLeaf;
  const last = leaves.at(-1) as PlainLeaf;
  let cell = 2 ** pageShift;
  const span = last.ipa + last.size - first.ipa;
  while (span / cell > MAX_CELLS) cell *= 2;
  const start = Math.floor(first.ipa / cell) * cell;
  const cells = new Uint8Array(Math.ceil((last.ipa + last.size - start) / cell));
  for (const leaf of leaves) {
    const from = Math.floor((leaf.ipa - start) / cell);
    const to = Math.ceil((leaf.ipa + leaf.size - start) / cell);
    const code = cellCode(leaf);
    for (let i = from; i < to; i++) if (cells[i] === UNMAPPED) cells[i] = code;
  }
  return { start, cell, runs: runLengths(cells) };
}

function runLengths(cells: Uint8Array): number[] {
  const runs: number[] = [];
  for (const code of cells) {
    if (runs.length > 0 && runs.at(-2) === code) runs.push((runs.pop() as number) + 1);
    else runs.push(code, 1);
  }
  return runs;
}
