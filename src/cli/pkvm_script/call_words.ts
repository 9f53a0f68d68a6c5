/** A hypercall in words, with the values that its arguments had. */
import type { ArgumentKind, Call } from "./calls.ts";

const RIGHTS = ["X", "W", "R"];
const KNOWN_RIGHTS = 7n;

/** `share_guest pfn 0x80100, gfn 0x40000, n 1, prot RWX`. */
export function callWords({ script, arguments: list }: Call, words: readonly bigint[]): string {
  const parts = words.map((word, i) => {
    const argument = list[i];
    return argument === undefined ? number(word) : `${argument.name} ${value(argument.kind, word)}`;
  });
  return [script, parts.join(", ")].filter(Boolean).join(" ");
}

function value(kind: ArgumentKind, word: bigint): string {
  if (kind !== "prot" || word === 0n || word > KNOWN_RIGHTS) return number(word);
  return RIGHTS.filter((_, i) => (word >> BigInt(i)) & 1n)
    .reverse()
    .join("");
}

/** Small ones are counts. */
function number(word: bigint): string {
  return word < 1000n ? String(word) : `0x${word.toString(16)}`;
}
