/** What a stage 2 looks like, in few words: how many leaves of which level, rights and age. */
import { type Leaf, Prot, type Range, type Stage2View } from "../../../../src/index.ts";

/** For example `{ "L3 rw-": 511, "L3 r-- old": 1 }`. */
export type Shape = Readonly<Record<string, number>>;

export function nameOf({ level, prot, accessed }: Leaf): string {
  const right = (bit: number, letter: string) => ((prot & bit) !== 0 ? letter : "-");
  const rights = right(Prot.R, "r") + right(Prot.W, "w") + right(Prot.X, "x");
  return `L${level} ${rights}${accessed ? "" : " old"}`;
}

/** The leaves of a range (default: all). */
export function shapeOf(view: Stage2View, range?: Range): Shape {
  const counts: Record<string, number> = {};
  for (const leaf of view.leaves(range)) {
    const name = nameOf(leaf);
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

/** One leaf: name and addresses, or `undefined` where no valid leaf is. */
export function leafAt(
  view: Stage2View,
  ipa: number,
): { name: string; ipa: number; size: number; pa: number } | undefined {
  const entry = view.getLeaf(ipa);
  if (entry.kind !== "leaf") return undefined;
  return { name: nameOf(entry), ipa: entry.ipa, size: entry.size, pa: entry.pa };
}
