/** A record of the event ring, field by field. */
import { EVENT_RECORD, LEVEL_UNKNOWN } from "./_abi.ts";

/** Level of an entry, or `undefined` where the operation did not know it. */
export type EventLevel = number | undefined;

/** Which visit of a walk. */
export type VisitKind = "leaf" | "pre" | "post";

const VISIT_KINDS: Readonly<Record<number, VisitKind>> = { 1: "leaf", 2: "pre", 4: "post" };

/** The record at `at` among the `words` of the memory, field by field. */
export class EventRecord {
  readonly #words: Uint32Array;
  readonly #at: number;

  constructor(words: Uint32Array, at: number) {
    this.#words = words;
    this.#at = at;
  }

  /** Whether it was written: a writer that has only reserved it fills it in, then stores its first word. */
  get isWritten(): boolean {
    return Atomics.load(this.#words, this.#at) !== 0;
  }

  get kind(): number {
    return this.#word(EVENT_RECORD.KIND) & 0xff;
  }

  get level(): EventLevel {
    const level = (this.#word(EVENT_RECORD.KIND) << 16) >> 24;
    return level === LEVEL_UNKNOWN ? undefined : level;
  }

  get aux(): number {
    return this.#word(EVENT_RECORD.KIND) >>> 16;
  }

  get visit(): VisitKind {
    return VISIT_KINDS[this.aux] as VisitKind;
  }

  get n(): number {
    return this.#word(EVENT_RECORD.N);
  }

  get a(): number {
    return this.#number(EVENT_RECORD.A);
  }

  get b(): number {
    return this.#number(EVENT_RECORD.B);
  }

  get c(): number {
    return this.#number(EVENT_RECORD.C);
  }

  /** Fields `a` and `c` where they may be virtual addresses: kernel addresses are negative numbers. */
  get signedA(): number {
    return this.#signed(EVENT_RECORD.A);
  }

  get signedC(): number {
    return this.#signed(EVENT_RECORD.C);
  }

  /** Field `b` where it is a descriptor, and `c`. */
  get pte(): bigint {
    return this.#whole(EVENT_RECORD.B);
  }

  get otherPte(): bigint {
    return this.#whole(EVENT_RECORD.C);
  }

  #word(offset: number): number {
    return this.#words[this.#at + offset / 4] as number;
  }

  #number(offset: number): number {
    return this.#word(offset + 4) * 2 ** 32 + this.#word(offset);
  }

  #signed(offset: number): number {
    return (this.#word(offset + 4) | 0) * 2 ** 32 + this.#word(offset);
  }

  #whole(offset: number): bigint {
    return (BigInt(this.#word(offset + 4)) << 32n) | BigInt(this.#word(offset));
  }
}
