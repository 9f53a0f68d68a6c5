/** The shape of a guest's page table, by the rule that sizes it: levels, pages of the root, what an entry covers. */
import type { World } from "../world.ts";

export interface Geometry {
  /** Levels that a walk goes through at most. */
  readonly levels: number;
  /** Pages of the root: what the host hands over as the entry table. */
  readonly rootPages: number;
  /** Pages that a block covers. */
  readonly blockPages: number;
  /** Guest pages that there are. */
  readonly guestPages: number;
}

const LAST_LEVEL = 3;

export function geometryOf({ pageShift, paBits }: World): Geometry {
  const bitsPerLevel = pageShift - 3;
  const levels = Math.max(2, Math.floor((paBits - 8) / bitsPerLevel));
  const covered = pageShift + levels * bitsPerLevel;
  return {
    levels,
    rootPages: 2 ** Math.max(0, paBits - covered),
    blockPages: 2 ** bitsPerLevel,
    guestPages: 2 ** (paBits - pageShift),
  };
}

/** The tables below the root that lead to the entry at `level` (2: a block, 3: a page) for a guest page, as keys. */
export function tablesTo({ levels, blockPages }: Geometry, gfn: number, level: number): string[] {
  const keys: string[] = [];
  for (let at = LAST_LEVEL - levels + 2; at <= level; at++) {
    const covers = blockPages ** (LAST_LEVEL - at + 1);
    keys.push(`${at}:${Math.floor(gfn / covers)}`);
  }
  return keys;
}
