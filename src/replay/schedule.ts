/**
 * Finds the order in which overlapping calls made their accesses, so that each finds what was recorded. The lines of a
 * trace fix most of it: an access lies between two lines of its own thread, the values that it found do the rest.
 *
 *   A   map: visit finds 0 | break won        | (preempted)                          make: stores the leaf |
 *   B                        | map: visit finds the marker, -EAGAIN | again ...  |                         | finds the leaf
 *
 * A search in depth: the earliest access that can happen now comes next; where none can, the last choice was wrong.
 */
import type { Access } from "./accesses.ts";
import { LOCKED } from "./accesses.ts";
import type { Call } from "./calls.ts";

/** An access of one of the calls. */
export interface Turn {
  readonly call: Call;
  readonly access: Access;
  /** Whether it is the last of its call. */
  readonly last: boolean;
}

/** The order that was found. */
export interface Schedule {
  readonly turns: readonly Turn[];
  /** Where no order is right: the turn that none leads to. It and those behind it are in the order of their lines. */
  readonly stuck?: Turn;
}

/** How much is tried before it counts as impossible. */
const TRIES_PER_TURN = 200;
const VALID = 1n;
const AF = 1n << 10n;

/**
 * Orders the turns of several threads.
 *
 * @param threads   the turns of each, in its order
 * @param hardware  whether hardware may set the access flag of a leaf at any time
 */
export function findSchedule(threads: readonly (readonly Turn[])[], hardware: boolean): Schedule {
  const search = new Search(threads, hardware);
  return search.run();
}

/** A step of the search: which thread went, what it replaced, which others can go in its place. */
interface Choice {
  readonly thread: number;
  readonly before: string | undefined;
  readonly others: number[];
  readonly previous: Choice | undefined;
  readonly depth: number;
}

class Search {
  readonly #threads: readonly (readonly Turn[])[];
  readonly #hardware: boolean;
  readonly #total: number;
  readonly #at: number[];
  /** What entries hold; one that no access has told of yet is not there. */
  readonly #values = new Map<string, string>();
  readonly #failed = new Set<string>();
  #last: Choice | undefined;
  /** The farthest that anything led. */
  #farthest: Choice | undefined;
  #hash = 0;

  constructor(threads: readonly (readonly Turn[])[], hardware: boolean) {
    this.#threads = threads;
    this.#hardware = hardware;
    this.#total = threads.reduce((sum, turns) => sum + turns.length, 0);
    this.#at = threads.map(() => 0);
  }

  run(): Schedule {
    let tries = this.#total * TRIES_PER_TURN;
    let ready = this.#ready();
    while ((this.#last?.depth ?? 0) < this.#total) {
      const thread = ready.shift();
      if (thread !== undefined) {
        this.#go(thread, ready);
        ready = this.#ready();
      } else {
        if (this.#last === undefined || tries-- === 0) return this.#stuck();
        ready = this.#undo(this.#last);
      }
    }
    return { turns: this.#turns(this.#last) };
  }

  /** The threads whose next access can happen now, the earliest first. */
  #ready(): number[] {
    if (this.#failed.size > 0 && this.#failed.has(this.#state())) return [];
    const ready: number[] = [];
    this.#threads.forEach((_, thread) => {
      if (this.#isDue(thread) && this.#fits(this.#next(thread) as Access)) ready.push(thread);
    });
    return ready.sort((a, b) => this.#lineOf(a) - this.#lineOf(b));
  }

  #next(thread: number): Access | undefined {
    return this.#threads[thread]?.[this.#at[thread] as number]?.access;
  }

  #lineOf(thread: number): number {
    return this.#next(thread)?.after ?? Infinity;
  }

  /** Whether the others still come in time if this one goes first. */
  #isDue(thread: number): boolean {
    const access = this.#next(thread);
    if (access === undefined) return false;
    return this.#threads.every((_, other) => {
      return other === thread || access.after < (this.#next(other)?.before ?? Infinity);
    });
  }

  /** Whether the entry holds what the access found. */
  #fits({ entry, what }: Access): boolean {
    const value = this.#values.get(entry);
    if (value === undefined) return what.kind !== "read" || what.value !== LOCKED;
    switch (what.kind) {
      case "read":
        return value === what.value || this.#isAged(value, what.value);
      case "look":
        return isTable(value) === what.table;
      case "exchange":
        return (value === what.old) === what.won;
      case "store":
        return value === LOCKED;
    }
  }

  #isAged(value: string, aged: string): boolean {
    if (!this.#hardware) return false;
    const before = BigInt(value);
    return (before & VALID) !== 0n && BigInt(aged) === (before | AF);
  }

  #go(thread: number, others: number[]): void {
    const { entry, what } = this.#next(thread) as Access;
    const previous = this.#last;
    const depth = (previous?.depth ?? 0) + 1;
    this.#last = { thread, before: this.#values.get(entry), others, previous, depth };
    if (depth > (this.#farthest?.depth ?? 0)) this.#farthest = this.#last;
    if (what.kind === "read" || what.kind === "store" || (what.kind === "exchange" && what.won))
      this.#set(entry, what.value);
    (this.#at[thread] as number)++;
  }

  /** Takes a step back, from where nothing led on; what can be done in its place. */
  #undo({ thread, before, others, previous }: Choice): number[] {
    this.#failed.add(this.#state());
    (this.#at[thread] as number)--;
    this.#set((this.#next(thread) as Access).entry, before);
    this.#last = previous;
    return others;
  }

  /** Where the threads are, and what the entries hold. */
  #state(): string {
    return `${this.#at.join()}:${this.#hash}`;
  }

  #set(entry: string, value: string | undefined): void {
    const before = this.#values.get(entry);
    if (before !== undefined) this.#hash ^= hashOf(entry, before);
    if (value !== undefined) this.#hash ^= hashOf(entry, value);
    if (value === undefined) this.#values.delete(entry);
    else this.#values.set(entry, value);
  }

  /** The turns up to a choice. */
  #turns(last: Choice | undefined): Turn[] {
    const order: number[] = [];
    for (let choice = last; choice !== undefined; choice = choice.previous)
      order.push(choice.thread);
    const at = this.#threads.map(() => 0);
    return order.reverse().map((thread) => {
      const next = at[thread] as number;
      at[thread] = next + 1;
      return this.#threads[thread]?.[next] as Turn;
    });
  }

  #stuck(): Schedule {
    const turns = this.#turns(this.#farthest);
    const done = new Set(turns);
    const rest = this.#threads.flatMap((thread) => thread.filter((turn) => !done.has(turn)));
    rest.sort((a, b) => a.access.after - b.access.after);
    return { turns: [...turns, ...rest], stuck: rest[0] as Turn };
  }
}

/** Whether an entry above the last level points to a table. */
function isTable(entry: string): boolean {
  return (Number(`0x${entry.slice(-1)}`) & 3) === 3;
}

/** 32 bits of FNV-1a. */
function hashOf(entry: string, value: string): number {
  let hash = 0x811c9dc5;
  for (const text of [entry, value])
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}
