/**
 * What the accesses of hardware vectors load and store, once they are translated. Where it was recorded it was recorded for
 * the answer of the CPU model; for the other answer it follows from the instruction and from what is in memory.
 */
import type { Answer, Kind, Vector, Word } from "./format.ts";
import { ZERO, initialWord } from "./memory.ts";

const WORD_BYTES = 8;
const BYTE = 0xffn;
const INSTRUCTION = 0xffff_ffffn;

/** Bits that a kind of access loads from its address on; the others load none. */
const LOADED: Readonly<{ [kind in Kind]?: bigint }> = {
  ...{ readb: BYTE, fetch: INSTRUCTION },
  ...Object.fromEntries(
    ["read", "ldar", "ldp", "ldxr", "ldadd", "swp", "cas", "excl"].map((kind) => [kind, ~0n]),
  ),
};

/** What the access loads with this answer; `undefined` for stores, whose recorded value is a register's with another use. */
export function loadedValue(vector: Vector, answer: Answer): bigint | undefined {
  const mask = LOADED[vector.kind];
  if (mask === undefined || answer.value !== undefined) return mask && answer.value;
  const place = placeOf(vector, answer);
  return place && (place.before >> place.shift) & mask;
}

/** The words that the access stores with this answer. */
export function storedWords(vector: Vector, answer: Answer): readonly Word[] {
  if (!answer.ok) return [];
  // Recorded were the words of the pattern alone.
  const inPattern = answer.pa !== undefined && answer.pa < ZERO;
  if (answer === vector.expected && inPattern) return vector.dataAfter;
  const place = placeOf(vector, answer);
  const value = place && storedValue(vector, place);
  return place === undefined || value === undefined ? [] : [{ pa: place.pa, value }];
}

/** The word that an access goes to, and where in it. */
interface Place {
  readonly pa: number;
  readonly before: bigint;
  readonly shift: bigint;
}

function placeOf({ memory }: Vector, { pa: address }: Answer): Place | undefined {
  if (address === undefined) return undefined;
  const offset = Number(address) % WORD_BYTES;
  const pa = Number(address) - offset;
  const before = memory.find((word) => word.pa === pa)?.value ?? initialWord(pa);
  return { pa, before, shift: BigInt(offset * 8) };
}

function storedValue({ kind, data }: Vector, { before, shift }: Place): bigint | undefined {
  switch (kind) {
    case "write":
    case "stlr":
    case "swp":
    case "excl":
      return data;
    case "ldadd":
      return BigInt.asUintN(64, before + data);
    case "writeb":
      return (before & ~(BYTE << shift)) | ((data & BYTE) << shift);
    default:
      return undefined; // loads; a compare-and-swap that never matches
  }
}
