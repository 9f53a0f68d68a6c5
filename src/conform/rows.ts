/**
 * The rows of a dump on their way to a digest: written as lines, remembered, or compared with those remembered.
 * Most of the time both runs of a script leave the same table behind, and comparing numbers costs a fraction of
 * writing and digesting them.
 */
import type { Lines } from "./lines.ts";
import type { Result } from "./vectors.ts";

/** First letters of the lines of a dump. */
export const ROW = { ROOT: 0x50, TABLE: 0x54, LEAF: 0x4c, INVALID: 0x41, UNLINKED: 0x55 } as const;

/** Takes rows: letter, level or page number, address and value as two halves each. */
export interface RowSink {
  row(letter: number, level: number, ah: number, al: number, vh: number, vl: number): void;
}

/** Writes each row as its line. */
export class RowWriter implements RowSink {
  readonly #lines: Lines;

  constructor(lines: Lines) {
    this.#lines = lines;
  }

  row(letter: number, level: number, ah: number, al: number, vh: number, vl: number): void {
    const lines = this.#lines;
    lines.letter(letter);
    lines.space();
    lines.decimal(level);
    if (letter !== ROW.ROOT && letter !== ROW.UNLINKED) {
      lines.space();
      lines.hex(ah, al);
    }
    lines.space();
    if (letter === ROW.LEAF || letter === ROW.INVALID) lines.hex(vh, vl);
    else lines.decimal(vl);
    lines.end();
  }
}

const ROW_WORDS = 5;

function head(letter: number, level: number): number {
  return (letter << 8) | (level & 0xff);
}

/** Remembers the rows that it hands on. */
export class RowRecorder implements RowSink {
  readonly #next: RowSink;
  #words = new Uint32Array(1024 * ROW_WORDS);
  #used = 0;

  constructor(next: RowSink) {
    this.#next = next;
  }

  row(letter: number, level: number, ah: number, al: number, vh: number, vl: number): void {
    if (this.#used === this.#words.length) this.#grow();
    const words = this.#words;
    const at = this.#used;
    words[at] = head(letter, level);
    words[at + 1] = ah;
    words[at + 2] = al;
    words[at + 3] = vh;
    words[at + 4] = vl;
    this.#used = at + ROW_WORDS;
    this.#next.row(letter, level, ah, al, vh, vl);
  }

  restart(): void {
    this.#used = 0;
  }

  /** A copy of what was remembered. */
  get words(): Uint32Array {
    return this.#words.slice(0, this.#used);
  }

  #grow(): void {
    const larger = new Uint32Array(this.#words.length * 2);
    larger.set(this.#words);
    this.#words = larger;
  }
}

/** Compares rows with remembered ones. */
export class RowMatcher implements RowSink {
  readonly #words: Uint32Array;
  #at = 0;
  #differs = false;

  constructor(words: Uint32Array) {
    this.#words = words;
  }

  row(letter: number, level: number, ah: number, al: number, vh: number, vl: number): void {
    const words = this.#words;
    const at = this.#at;
    // Beyond the end the words are undefined, which equals no number. `>>> 0`: halves may come as signed numbers.
    if (
      words[at] !== head(letter, level) ||
      words[at + 1] !== ah >>> 0 ||
      words[at + 2] !== al >>> 0 ||
      words[at + 3] !== vh >>> 0 ||
      words[at + 4] !== vl >>> 0
    )
      this.#differs = true;
    this.#at = at + ROW_WORDS;
  }

  /** Whether every remembered row came, and no other. */
  get matches(): boolean {
    return !this.#differs && this.#at === this.#words.length;
  }
}

/** What one run dumped, by step, for the other run to compare with. */
export class DumpMemory {
  readonly #dumps = new Map<number, { readonly words: Uint32Array; readonly result: Result }>();

  remember(step: number, words: Uint32Array, result: Result): void {
    this.#dumps.set(step, { words, result });
  }

  /** The result remembered for a step, if `list` comes to the very same rows. */
  recall(step: number, list: (sink: RowSink) => void): Result | undefined {
    const dump = this.#dumps.get(step);
    if (dump === undefined) return undefined;
    const matcher = new RowMatcher(dump.words);
    list(matcher);
    return matcher.matches ? dump.result : undefined;
  }
}
