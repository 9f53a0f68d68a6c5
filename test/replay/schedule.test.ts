/** Orders of accesses that explain what overlapping calls found. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Access, LOCKED } from "../../src/replay/accesses.ts";
import type { Call } from "../../src/replay/calls.ts";
import type { TraceRecord } from "../../src/replay/record.ts";
import { type Turn, findSchedule } from "../../src/replay/schedule.ts";

const ENTRY = "0x1000";
const LEAF = "0x80000403";
const OTHER = "0x90000403";

/** An access between two lines of its thread. */
function turn(after: number, before: number, what: Access["what"], entry = ENTRY): Turn {
  const record = {} as TraceRecord;
  return { call: {} as Call, access: { record, entry, after, before, what }, last: false };
}

const read = (value: string): Access["what"] => ({ kind: "read", value, first: true });
const take = (won: boolean, old = "0x0"): Access["what"] => ({
  ...{ kind: "exchange", old },
  ...{ value: LOCKED, won },
});
const store = (value: string): Access["what"] => ({ kind: "store", value });

/** The order as the places of the turns: "a0 b0 a1". */
function orderOf(threads: readonly Turn[][], hardware = false): string {
  const { turns, stuck } = findSchedule(threads, hardware);
  const name = (found: Turn): string => {
    const thread = threads.findIndex((own) => own.includes(found));
    return `${"abc"[thread]}${threads[thread]?.indexOf(found)}`;
  };
  return turns.map((found) => (found === stuck ? `!${name(found)}` : name(found))).join(" ");
}

describe("a schedule", () => {
  it("makes the loser of an exchange wait for the winner", () => {
    const a = [turn(0, 1, read("0x0")), turn(2, 99, take(false))];
    const b = [turn(3, 4, read("0x0")), turn(5, 6, take(true)), turn(7, 8, store(LEAF))];
    expect(orderOf([a, b])).toBe("a0 b0 b1 a1 b2");
  });

  it("keeps a store back until the other has seen the marker", () => {
    const a = [turn(0, 1, read("0x0")), turn(2, 3, take(true)), turn(4, 99, store(LEAF))];
    const b = [turn(10, 11, read(LOCKED)), turn(20, 21, read(LOCKED)), turn(22, 23, read(LEAF))];
    expect(orderOf([a, b])).toBe("a0 a1 b0 b1 a2 b2");
  });

  it("does not keep a store back behind the next line of its thread", () => {
    const a = [turn(0, 1, read("0x0")), turn(2, 3, take(true)), turn(4, 15, store(LEAF))];
    const b = [turn(10, 11, read(LOCKED)), turn(20, 21, read(LOCKED))];
    expect(orderOf([a, b])).toBe("a0 a1 b0 a2 !b1");
  });

  it("says from where on nothing is possible", () => {
    const a = [turn(0, 1, read(OTHER)), turn(2, 3, read(LEAF)), turn(4, 5, read(OTHER))];
    expect(orderOf([a])).toBe("a0 !a1 a2");
  });

  it("lets only hardware with the feature set an access flag", () => {
    const old = "0x80000001";
    const a = [turn(0, 1, read(old)), turn(2, 3, read("0x80000401")), turn(4, 5, read(old))];
    expect(orderOf([a])).toBe("a0 !a1 a2");
    expect(orderOf([a], true)).toBe("a0 a1 !a2");
  });

  it("takes back an early choice that turns out wrong much later", () => {
    const a = [turn(0, 1, read("0x0")), turn(2, 3, take(true)), turn(4, 900, store(LEAF))];
    const far = Array.from({ length: 200 }, (_, i) => turn(5 + i, 6 + i, read("0x7"), "0x2000"));
    const b = [...far, turn(300, 301, read(LOCKED))];
    expect(orderOf([a, b])).toMatch(/^a0 a1 b0 .* b199 b200 a2$/);
  });
});

// ---- what really ran is always found ------------------------------------------------------------------------------

const ENTRIES = ["0x1000", "0x1008"] as const;

/** What a thread does next, on which entry. */
interface Deed {
  readonly kind: "map" | "change";
  readonly entry: number;
}

const deed = fc.record({
  kind: fc.constantFrom("map" as const, "change" as const),
  entry: fc.nat(1),
});
const programs = fc.array(fc.array(deed, { minLength: 1, maxLength: 5 }), {
  minLength: 2,
  maxLength: 3,
});
const choices = fc.infiniteStream(fc.nat(5));

/** A run of some threads: what their turns were, and between which lines, as a reader of the lines learns it. */
class Run {
  readonly threads: Turn[][];
  readonly #memory = new Map<string, string>(ENTRIES.map((entry) => [entry, "0x0"]));
  readonly #lastLines: number[];
  #lines = 0;
  #values = 0;

  constructor(programs: readonly Deed[][], choices: Iterator<number>) {
    this.threads = programs.map(() => []);
    this.#lastLines = programs.map(() => this.#lines++);
    const running = programs.map((deeds, thread) => this.#run(deeds, thread));
    while (running.length > 0) {
      const index = (choices.next().value as number) % running.length;
      if (running[index]?.next().done) running.splice(index, 1);
    }
  }

  /** Every `yield` is a moment at which another thread can go on. */
  *#run(deeds: readonly Deed[], thread: number): Generator<void> {
    for (const { kind, entry } of deeds) {
      const at = ENTRIES[entry] as string;
      const old = yield* this.#access(thread, at, () => read(this.#memory.get(at) as string));
      if (old === LOCKED) continue;
      const value = `0x${(0x1000 * ++this.#values + 1).toString(16)}`;
      const next = kind === "map" ? LOCKED : value;
      yield* this.#access(thread, at, () => this.#exchange(at, old, next));
      if (kind === "map" && this.#won(thread))
        yield* this.#access(thread, at, () => this.#store(at, value));
    }
  }

  /** One access, between the last line of the thread and its next. */
  *#access(thread: number, at: string, make: () => Access["what"]): Generator<void, string> {
    const after = this.#lastLines[thread] as number;
    yield;
    const what = make();
    yield;
    const before = (this.#lastLines[thread] = this.#lines++);
    this.threads[thread]?.push(turn(after, before, what, at));
    return what.kind === "look" ? "" : what.value;
  }

  #exchange(at: string, old: string, value: string): Access["what"] {
    const won = this.#memory.get(at) === old;
    if (won) this.#memory.set(at, value);
    return { kind: "exchange", old, value, won };
  }

  #store(at: string, value: string): Access["what"] {
    this.#memory.set(at, value);
    return store(value);
  }

  #won(thread: number): boolean {
    const what = this.threads[thread]?.at(-1)?.access.what;
    return what?.kind === "exchange" && what.won;
  }
}

/** Whether the turns, in this order, find what they found, each thread in its own order. */
function explains(turns: readonly Turn[], threads: readonly Turn[][]): boolean {
  const memory = new Map<string, string>(ENTRIES.map((entry) => [entry, "0x0"]));
  for (const own of threads)
    if (own.some((each, i) => i > 0 && turns.indexOf(each) < turns.indexOf(own[i - 1] as Turn)))
      return false;
  return turns.every(({ access: { entry, what } }) => {
    const value = memory.get(entry);
    if (what.kind === "read") return what.value === value;
    if (what.kind === "exchange" && (value === what.old) !== what.won) return false;
    if (what.kind === "store" || (what.kind === "exchange" && what.won))
      memory.set(entry, what.value);
    return true;
  });
}

describe("the schedule of any run", () => {
  it("is found, and explains every value", () => {
    fc.assert(
      fc.property(programs, choices, (deeds, order) => {
        const { threads } = new Run(deeds, order[Symbol.iterator]());
        const { turns, stuck } = findSchedule(threads, false);
        expect(stuck).toBeUndefined();
        expect(turns).toHaveLength(threads.flat().length);
        expect(explains(turns, threads)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it("is not found once a value is read that nobody stored", () => {
    fc.assert(
      fc.property(programs, choices, fc.nat(), (deeds, order, which) => {
        const { threads } = new Run(deeds, order[Symbol.iterator]());
        const own = threads.find((turns) => turns.length > 0) as Turn[];
        const at = which % own.length;
        const { access } = own[at] as Turn;
        const wrong = turn(access.after, access.before, read("0xbad"), access.entry);
        own.splice(at, 1, turn(access.after, access.before, read("0x1"), access.entry), wrong);
        expect(findSchedule(threads, false).stuck).toBeDefined();
      }),
      { numRuns: 200 },
    );
  });
});
