/** A line of a hypercall script as words, each with its column, so that what is wrong can be pointed at. */
import { inputError } from "../../input.ts";
import type { Stage2Error } from "../../errors.ts";

export type WordKind = "name" | "number" | "word" | "sign" | "end";

/** A word of a line. */
export interface Word {
  readonly kind: WordKind;
  readonly text: string;
  /** The first character of the line is column 1. */
  readonly column: number;
}

// In this order: "->" is one sign, and "0x" belongs to its number.
const PATTERNS: readonly (readonly [WordKind, RegExp])[] = [
  ["name", /\$[A-Za-z_]\w*/y],
  ["number", /0[xX][0-9a-fA-F_]+\b|\d[\d_]*[KMGT]?\b/y],
  ["word", /[A-Za-z_]\w*/y],
  ["sign", /->|[-+@=,]/y],
];
const SPACE = /\s*/y;
const COMMENT = /#.*/;

/** `note` and what it says, which is for people: no words, no comment. */
const NOTE = /^\s*note\s+(.*?)\s*$/;

/** A line that is read from left to right. */
export class Line {
  readonly #words: readonly Word[];
  #next = 0;

  constructor(
    readonly file: string,
    /** From 1. */
    readonly number: number,
    readonly text: string,
  ) {
    this.#words = this.note === undefined ? this.#split() : [this.#end()];
  }

  /** What a line for readers says. */
  get note(): string | undefined {
    return NOTE.exec(this.text)?.[1];
  }

  get empty(): boolean {
    return this.peek().kind === "end";
  }

  /** The statement without its comment. */
  get statement(): string {
    return this.note === undefined ? this.text.replace(COMMENT, "").trim() : this.text.trim();
  }

  /** The next word, which stays. */
  peek(ahead = 0): Word {
    return this.#words[Math.min(this.#next + ahead, this.#words.length - 1)] as Word;
  }

  take(): Word {
    const word = this.peek();
    if (word.kind !== "end") this.#next++;
    return word;
  }

  /** Takes the next word if it is this one. */
  takeIf(text: string): boolean {
    if (this.peek().kind === "end" || this.peek().text !== text) return false;
    this.#next++;
    return true;
  }

  /** Takes a word of a kind, or says what should be there. */
  expect(kind: WordKind, what: string): Word {
    if (this.peek().kind === kind) return this.take();
    throw this.expected(what);
  }

  expectText(text: string): void {
    if (!this.takeIf(text)) throw this.expected(`"${text}"`);
  }

  expectEnd(): void {
    if (!this.empty) throw this.expected("the end of the line");
  }

  /** The error for a word that is not what belongs there. */
  expected(what: string, found: Word = this.peek()): Stage2Error {
    const there = found.kind === "end" ? "the line ends" : `found "${found.text}"`;
    return this.error(`expected ${what}, ${there}`, found);
  }

  /** The error for a word: file, line, column. */
  error(message: string, at: Word = this.peek()): Stage2Error {
    return inputError(`${this.file}:${this.number}:${at.column}`, message);
  }

  #split(): Word[] {
    const text = this.text.replace(COMMENT, "");
    const words: Word[] = [];
    for (let at = after(SPACE, text, 0); at < text.length;) {
      const word = wordAt(text, at);
      if (word === undefined) {
        const stray = { kind: "sign", text: text[at] as string, column: at + 1 } as const;
        throw this.error(`expected a word, a number or a $name, found "${stray.text}"`, stray);
      }
      words.push(word);
      at = after(SPACE, text, at + word.text.length);
    }
    return [...words, this.#end()];
  }

  #end(): Word {
    const { length } = this.text.replace(COMMENT, "").trimEnd();
    return { kind: "end", text: "", column: length + 1 };
  }
}

function wordAt(text: string, at: number): Word | undefined {
  for (const [kind, pattern] of PATTERNS) {
    const end = after(pattern, text, at);
    if (end > at) return { kind, text: text.slice(at, end), column: at + 1 };
  }
  return undefined;
}

/** Where a sticky pattern's match at `at` ends; `at` if it has none. */
function after(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  const match = pattern.exec(text);
  return match === null ? at : at + match[0].length;
}
