/** Event streams of an engine, and the same with one thing done wrong. */
import fc from "fast-check";
import { Checker } from "../../src/checker/checker.ts";
import {
  type Engine,
  type Event,
  type Granule,
  type Stage2,
  type Stage2Options,
} from "../../src/index.ts";
import { commands } from "../model/commands.ts";
import { PlainStage2 } from "../model/plain.ts";

/** Sizes of a page and of the block above it. */
export const SIZES: Readonly<Record<Granule, { page: number; block: number }>> = {
  "4K": { page: 2 ** 12, block: 2 ** 21 },
  "16K": { page: 2 ** 14, block: 2 ** 25 },
  "64K": { page: 2 ** 16, block: 2 ** 29 },
};

const LOCKED = 0x400n;
const ADDRESS = 0x0000_ffff_ffff_f000n;

/** What a page table logs while `use` is at it, and when it is destroyed. */
export interface Recording {
  readonly events: readonly Event[];
  readonly end: readonly Event[];
  /** Page size. */
  readonly page: number;
  /** A checker that was told of the table, and of nothing else. */
  readonly fresh: () => Checker;
}

/** Records everything from the making of a page table to its end. `use` is given a function that empties the ring. */
export function record(
  engine: Engine,
  options: Stage2Options,
  use: (table: Stage2, drain: () => void) => void,
): Recording {
  const table = engine.stage2({ ...options, events: Checker.EVENTS });
  const events: Event[] = [];
  const { granule, rootBytes } = table;
  const root = Number(table.vttbr());
  const drain = (): void => void events.push(...engine.events.drain());
  drain();
  use(table, drain);
  drain();
  table.dispose();
  const end = [...engine.events.drain()];
  if (events.some(({ kind }) => kind === "lost")) throw new Error("the ring is too small");
  const fresh = (): Checker => {
    const checker = new Checker();
    checker.watch({ root, rootBytes, granule });
    return checker;
  };
  return { events, end, page: SIZES[granule].page, fresh };
}

/** Random operations, with the ring emptied after each. */
export function recordings(
  engine: Engine,
  granule: Granule,
  fwbs: readonly boolean[] = [false, true],
): fc.Arbitrary<Recording> {
  const { page, block } = SIZES[granule];
  return fc
    .tuple(commands({ page, block }), fc.constantFrom(...fwbs), fc.boolean())
    .map(([steps, fwb, range]) =>
      record(engine, { granule, fwb, tlbiRange: range }, (table, drain) => {
        const model = new PlainStage2(page, block);
        for (const step of steps) {
          step.run(model, table);
          drain();
        }
      }),
    );
}

/** What the events break, all operations being over behind them, and then the end of the table. */
export function judge({ fresh, end }: Recording, events: readonly Event[]): string[] {
  const checker = fresh();
  for (const event of events) checker.observe(event);
  checker.settle();
  for (const event of end) checker.observe(event);
  checker.settle();
  return checker.violations.map(String);
}

/** One way to do something wrong. */
export interface Mutant {
  readonly name: string;
  /** The stream anew: it may be long, and few of many are looked at. */
  readonly events: () => readonly Event[];
}

type Write = Extract<Event, { kind: "write" }>;

/** A break of a valid entry, its invalidation, and the make that follows, if one does. */
interface Replacement {
  readonly broken: number;
  readonly flushed: number;
  readonly made: number | undefined;
  readonly old: bigint;
  readonly next: bigint | undefined;
}

const isFlush = ({ kind }: Event): boolean =>
  kind === "tlbiIpa" || kind === "tlbiVmid" || kind === "tlbiRange";

/** Every break that is followed at once by its invalidation: all but the leaves of a deferred unmap. */
function replacements(events: readonly Event[]): Replacement[] {
  const found: Replacement[] = [];
  const values = new Map<number, bigint>();
  events.forEach((event, i) => {
    if (event.kind === "alloc") values.clear(); // pages come back cleared: a slot's old value says nothing any more
    if (event.kind !== "write" && event.kind !== "writeUnlinked") return;
    const old = values.get(event.slot) ?? 0n;
    values.set(event.slot, event.pte);
    const after = events[i + 1];
    if ((old & 1n) === 0n || (event.pte & 1n) === 1n || after === undefined || !isFlush(after))
      return;
    const made = nextStore(events, i, event.slot);
    const next = made === undefined ? undefined : (events[made] as Write).pte;
    found.push({ broken: i, flushed: i + 1, made, old, next });
  });
  return found;
}

/** The store that ends a replacement: the marker gives way to something valid. */
function nextStore(events: readonly Event[], broken: number, slot: number): number | undefined {
  if ((events[broken] as Write).pte !== LOCKED) return undefined;
  const at = events.findIndex(
    (each, i) => i > broken && each.kind === "write" && each.slot === slot,
  );
  return at >= 0 && ((events[at] as Write).pte & 1n) === 1n ? at : undefined;
}

/** Every mutant of a stream: each is a violation. */
export function mutants({ events, page }: Pick<Recording, "events" | "page">): Mutant[] {
  return [
    ...replacements(events).flatMap((each) => breakMutants(events, each, page)),
    ...freeMutants(events),
  ];
}

function breakMutants(events: readonly Event[], replacement: Replacement, page: number): Mutant[] {
  const { broken, flushed, made, old, next } = replacement;
  const list = [{ name: `no invalidation (${flushed})`, events: () => omit(events, flushed) }];
  if (made === undefined) return isFlushedLater(events, replacement, page) ? [] : list;
  list.push({ name: `make first (${made})`, events: () => move(events, flushed, made) });
  list.push({
    name: `invalidation first (${flushed})`,
    events: () => move(events, flushed, broken - 1),
  });
  if (next !== undefined && (old & ADDRESS) !== (next & ADDRESS)) {
    list.push({ name: `no break (${broken})`, events: () => omit(events, broken, flushed) });
  }
  return list;
}

/** Whether a later flush happens to cover the entry, as that of the emptied table covers a page of it. */
function isFlushedLater(
  events: readonly Event[],
  { broken, flushed }: Replacement,
  page: number,
): boolean {
  const { ipa, level } = events[broken] as Write;
  const end = ipa + page * (page / 8) ** (3 - (level as number));
  return events.slice(flushed + 1).some((event) => {
    if (event.kind === "tlbiVmid") return true;
    if (event.kind === "tlbiRange") return true;
    if (event.kind !== "tlbiIpa") return false;
    const isHit = event.ipa >= ipa && event.ipa < end;
    return isHit && (event.level === undefined || event.level === level);
  });
}

/** Tables that are freed one step too early: before the entry above them goes. */
function freeMutants(events: readonly Event[]): Mutant[] {
  return events.flatMap((event, i) => {
    if (event.kind !== "free") return [];
    const unlinked = unlinkOf(events, event.pa, i);
    if (unlinked === undefined) return [];
    return [
      { name: `free first (${i})`, events: () => move(events, i, unlinked - 1) },
      { name: `free before the invalidation (${i})`, events: () => move(events, i, unlinked) },
    ];
  });
}

/** The store before `end` that took the entry with this table away. */
function unlinkOf(events: readonly Event[], pa: number, end: number): number | undefined {
  let slot: number | undefined;
  let unlinked: number | undefined;
  for (let i = 0; i < end; i++) {
    const event = events[i] as Event;
    if (event.kind === "alloc" && event.pa === pa) [slot, unlinked] = [undefined, undefined];
    if (event.kind !== "write") continue;
    const points =
      event.level !== 3 && (event.pte & 3n) === 3n && Number(event.pte & ADDRESS) === pa;
    if (points) [slot, unlinked] = [event.slot, undefined];
    else if (event.slot === slot) unlinked ??= i;
  }
  return unlinked;
}

const omit = (events: readonly Event[], ...at: number[]): Event[] =>
  events.filter((_, i) => !at.includes(i));

/** Event `from` comes right behind event `to`. */
function move(events: readonly Event[], from: number, to: number): Event[] {
  const rest = omit(events, from);
  rest.splice(to < from ? to + 1 : to, 0, events[from] as Event);
  return rest;
}
