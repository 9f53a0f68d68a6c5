/**
 * A region as cells of equal size, each with the share that every kind has of it: how a GiB is drawn in a thousand pixels without
 * losing a page.
 */
import type { Category, KindOfRun } from "./category.ts";
import type { Region } from "./map.ts";

/** Bytes by kind in one cell. */
export type Cell = ReadonlyMap<Category, number>;

/** `count` cells, fewer if they were smaller than a page. */
export function cellsOf(
  region: Region,
  runs: readonly KindOfRun[],
  count: number,
  pageSize: number,
): Cell[] {
  const cells = Math.min(count, region.size / pageSize);
  const width = region.size / cells;
  const result = Array.from({ length: cells }, () => new Map<Category, number>());
  for (const { run, category } of runs) {
    const from = run.pa - region.pa;
    const to = from + run.size;
    for (let i = Math.floor(from / width); i < cells && i * width < to; i++) {
      const inside = Math.min(to, (i + 1) * width) - Math.max(from, i * width);
      const cell = result[i] as Map<Category, number>;
      if (inside > 0) cell.set(category, (cell.get(category) ?? 0) + inside);
    }
  }
  return result;
}
