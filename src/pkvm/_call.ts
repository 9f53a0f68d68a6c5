/** Arguments of hypercalls: words for the argument block, pages for the memcache in the batch buffer. No call needs a BigInt. */
import type { Context } from "../_context.ts";
import { Stage2Error } from "../errors.ts";
import { knownOptions } from "../range.ts";

/** An argument: any 64-bit word. Negative numbers are two's complement; a `number` names what it is exactly. */
export type Word = number | bigint;

/** What goes with a call beside its arguments. */
export interface CallOptions {
  /** Pages (pfns) that the host offers for the loaded vCPU's memcache: a stack, the last is taken first. Those that were taken leave the array. */
  memcache?: Word[];
}

/** Words that a call can take. */
const WORDS = 8;
const TWO_32 = 2 ** 32;
const RECORD_BYTES = 32;
const WORD_BYTES = 8;

/** Writes the arguments, zeros behind them. @throws Stage2Error `BAD_OPTION` for what is no 64-bit word */
export function writeArguments(context: Context, words: readonly Word[]): void {
  if (words.length > WORDS) {
    throw new Stage2Error("BAD_OPTION", `a hypercall takes at most ${WORDS} arguments`, { words });
  }
  for (const word of words) checkWord(word);
  const halves = context.args32;
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as Word;
    if (typeof word === "bigint") context.args64[i] = word;
    else writeNumber(halves, i * 2, word);
  }
  halves.fill(0, words.length * 2, WORDS * 2);
}

/** The list that goes with a call, if there is one. @throws Stage2Error `BAD_OPTION`; also for pages that the call would not look at */
export function listOf(options: CallOptions | undefined, refills: boolean): Word[] {
  if (options === undefined) return [];
  if (Array.isArray(options)) {
    throw new Stage2Error("BAD_OPTION", "a list of pages goes with a call as { memcache }", {
      options,
    });
  }
  knownOptions("hypercall", options, ["memcache"]);
  const { memcache: list = [] } = options;
  if (Array.isArray(list) && (refills || list.length === 0)) return list;
  const message = refills ? "memcache must be an array of pfns" : "the call takes no memcache";
  throw new Stage2Error("BAD_OPTION", message, { memcache: list });
}

/**
 * Writes a list: count, then pfns. @throws Stage2Error `BAD_OPTION` for more than there is room for, holes, what is no word, and for a
 * list that pages could not leave
 */
export function writeList(context: Context, list: readonly Word[]): void {
  const room = (context.core.batch_capacity() * RECORD_BYTES) / WORD_BYTES - 1;
  if (list.length > room) {
    throw new Stage2Error("BAD_OPTION", `memcache has room for ${room} pfns`, { memcache: list });
  }
  const pfns = Array.from(list); // with `undefined` for holes
  for (const pfn of pfns) checkWord(pfn);
  if (pfns.length > 0 && !canShrink(list)) {
    throw new Stage2Error("BAD_OPTION", "pages that are taken must be able to leave memcache", {
      memcache: list,
    });
  }
  const start = (context.core.batch() >>> 0) / 4;
  const words = context.u32;
  writeNumber(words, start, pfns.length);
  for (const [i, pfn] of pfns.entries()) {
    const at = start + (i + 1) * 2;
    if (typeof pfn === "bigint") context.u64[at / 2] = pfn;
    else writeNumber(words, at, pfn);
  }
}

/** Takes pages off the list that the call took. */
export function takeTaken(context: Context, list: Word[]): void {
  if (list.length === 0) return;
  const left = context.u32[(context.core.batch() >>> 0) / 4] as number;
  if (left < list.length) list.length = left;
}

/** Not one that is frozen or sealed. */
function canShrink(list: readonly Word[]): boolean {
  const length = Object.getOwnPropertyDescriptor(list, "length");
  return length?.writable === true && !Object.isSealed(list);
}

function checkWord(word: Word): void {
  if (typeof word === "bigint") {
    if (word >= -(2n ** 63n) && word < 2n ** 64n) return;
  } else if (Number.isInteger(word) && word >= -(2 ** 63) && word < 2 ** 64) return;
  throw new Stage2Error("BAD_OPTION", "an argument must be a word of 64 bits", { word });
}

/** Both halves as two's complement has them: what is stored is stored modulo 2^32. */
function writeNumber(halves: Uint32Array, at: number, value: number): void {
  halves[at] = value;
  halves[at + 1] = Math.floor(value / TWO_32);
}
