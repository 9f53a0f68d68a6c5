/**
 * The event stream in the trace format of casemate (github.com/rems-project/casemate, version 3), so that a checker made
 * by others judges our break-before-make discipline:
 *
 *     const s2 = engine.stage2({ events: Checker.EVENTS });
 *     ...
 *     writeFileSync("run.log", [...casemateTrace(engine.events.drain())].join("\n"));
 *     $ casemate-check run.log
 *
 * What casemate has no words for is said in other ones:
 * - A root of several tables hangs below one that is made up.
 * - KVM's flushes become the instructions they are made of, with the barriers in between.
 * - Invalidation by range becomes one by address for each entry that was broken in it; where it covers all of a table with
 *   leaves, one of the VMID.
 * - Who works on a page table holds its lock, which goes from thread to thread with the work.
 * - Invalidation on one CPU, and what vCPUs do, is not in the trace.
 */
import type { Event } from "../_event_record.ts";
import { entrySize, isTable, isValid, tableAddress } from "../checker/_bits.ts";
import { Shadow, type TablePage, type Tree, valueIn } from "../checker/_shadow.ts";
import { type Invalidation, type Step, stepsOf } from "../checker/_steps.ts";
import { type Observed, type Of, Threads } from "../checker/_stream.ts";
import { Stage2Error } from "../errors.ts";
import { flagOption, knownOptions } from "../range.ts";
import { type Broken, type Guest, Guests, type Thread } from "./_guests.ts";
import { Records } from "./_records.ts";

/** How the trace is written. */
export interface CasemateOptions {
  /** Say who holds the lock of a page table. Without, casemate must be told not to look at locks (`-R`). Default true. */
  locks?: boolean;
  /**
   * Also write the stores that change nothing but rights, access flag, dirty state and what hardware ignores. The
   * architecture asks no break for them; casemate does. Default false.
   */
  rights?: boolean;
  /** What the records name as their source, beside the number of the event. Default "stage2". */
  source?: string;
}

const PAGE = 4096;
const PAGE_SHIFT = 12n;
const FORMAT = { pageShift: 12, lpa2: false, hyp: false } as const;
/** S2AP, AF, DBM, XN, software's bits, PBHA. */
const RIGHTS = (3n << 6n) | (1n << 10n) | (1n << 51n) | (3n << 53n) | (0xffn << 55n);
/** TTL of a TLBI operand: 4K pages, level in the bits below. */
const TTL_SHIFT = 44n;
const TTL_4K = 4n;

/**
 * The lines of a trace, one at a time. The events must begin with the making of each page table, have the groups `tables`,
 * `maintenance`, `barriers` and `writes`, and be of 4K pages.
 *
 * @throws Stage2Error  `BAD_OPTION`; `BAD_INPUT` if an entry is in no page that was told of, or events were lost
 */
export function* casemateTrace(
  events: Iterable<Event>,
  options: CasemateOptions = {},
): Generator<string, void, undefined> {
  knownOptions("casemate", options, ["locks", "rights", "source"]);
  const trace = new Trace(options);
  for (const event of events) yield* trace.event(event);
  yield* trace.end();
}

class Trace {
  readonly #records: Records;
  readonly #guests: Guests;
  /** What casemate was told that entries hold. */
  readonly #shadow = new Shadow();
  readonly #unlinked = new Set<TablePage>();
  readonly #threads = new Threads();
  readonly #rights: boolean;
  #number = 0;

  constructor({ locks, rights, source }: CasemateOptions) {
    this.#records = new Records(source ?? "stage2");
    this.#guests = new Guests(this.#records, flagOption("locks", locks ?? true));
    this.#rights = flagOption("rights", rights ?? false);
  }

  *event(event: Observed): Generator<string, void, undefined> {
    this.#records.event = this.#number++;
    const thread = this.#guests.thread(this.#threads.of(event));
    switch (event.kind) {
      case "allocExact":
        return yield* this.#root(event, thread);
      case "freeExact":
        return yield* this.#destroyed(event.pa, thread);
      case "alloc":
        this.#shadow.addPage(event.pa, true);
        yield this.#records.init(thread.number, event.pa, PAGE);
        return;
      case "free":
        return yield* this.#freed(event.pa, thread);
      case "write":
        return yield* this.#write(event, thread);
      case "writeUnlinked":
        return yield* this.#aside(event, thread);
      case "lost":
        throw unusable("events were lost", { lost: event.count });
      default:
        return yield* this.#maintain(event, thread);
    }
  }

  *end(): Generator<string, void, undefined> {
    for (const { tree } of [...this.#guests.all]) yield* this.#loose(tree, this.#guests.thread(0));
    yield* this.#guests.leave();
  }

  *#root({ pa, pages }: Of<"allocExact">, thread: Thread): Generator<string, void, undefined> {
    const tree: Tree = {
      root: pa,
      rootBytes: pages * PAGE,
      format: FORMAT,
      vmid: undefined,
      loose: [],
    };
    this.#shadow.addTree(tree, true);
    this.#guests.add(tree);
    yield this.#records.init(thread.number, pa, tree.rootBytes);
  }

  /** A page table is gone: it is released first, then its pages are memory like any. */
  *#destroyed(pa: number, thread: Thread): Generator<string, void, undefined> {
    const tree = this.#shadow.treeAt(pa);
    const guest = this.#guests.of(tree);
    if (tree === undefined || guest === undefined) return;
    const made = this.#guests.madeUp(guest);
    yield* this.#guests.retire(thread, guest);
    yield* this.#loose(tree, thread);
    yield this.#records.free(thread.number, pa, tree.rootBytes);
    if (made !== undefined) yield this.#records.free(thread.number, made, PAGE);
    this.#shadow.dropTree(tree);
  }

  /** Pages that are freed while linked wait: if all of the page table goes, it is released before them. */
  *#freed(pa: number, thread: Thread): Generator<string, void, undefined> {
    const page = this.#shadow.pageAt(pa);
    const tree = page && this.#linkedIn(page);
    if (page !== undefined && tree !== undefined) tree.loose.push({ page, by: "", at: 0 });
    else yield this.#records.free(thread.number, pa, PAGE);
  }

  *#loose(tree: Tree, thread: Thread): Generator<string, void, undefined> {
    for (const { page } of tree.loose.splice(0)) {
      yield this.#records.free(thread.number, page.pa, PAGE);
    }
  }

  *#write(event: Of<"write">, thread: Thread): Generator<string, void, undefined> {
    const { slot, pte, level, ipa } = event;
    const page = this.#pageOf(slot);
    const tree = this.#shadow.treeOf(page);
    const guest = this.#guests.of(tree);
    if (tree === undefined || guest === undefined || level === undefined) {
      throw unusable("an entry is in no page table that the events tell of", { slot });
    }
    yield* this.#loose(tree, thread);
    yield* this.#guests.enter(thread, guest, page.rootOf === undefined ? undefined : level);
    const old = valueIn(page, slot) as bigint;
    const [wasValid, isValidNow] = [isValid(old, level), isValid(pte, level)];
    if (wasValid && isValidNow && !((old ^ pte) & ~RIGHTS) && !this.#rights) return;
    yield this.#records.write(thread.number, slot, pte, "release");
    if (wasValid && !isValidNow) thread.broken.push(this.#broken(guest, old, level, ipa));
    this.#store(page, slot, pte, level);
  }

  /** A store to a table that nobody sees yet. */
  *#aside(event: Of<"writeUnlinked">, thread: Thread): Generator<string, void, undefined> {
    const { slot, pte, level } = event;
    const page = this.#pageOf(slot);
    yield this.#records.write(thread.number, slot, pte, "plain");
    this.#store(page, slot, pte, level);
  }

  #broken(guest: Guest, old: bigint, level: number, ipa: number): Broken {
    const table = isTable(old, level);
    const child = table ? this.#shadow.pageAt(tableAddress(old, FORMAT)) : undefined;
    const wide = this.#shadow.hasLeaves(child, FORMAT);
    if (child !== undefined) this.#unlinked.add(child);
    return { guest, ipa, end: ipa + entrySize(FORMAT.pageShift, level), level, wide };
  }

  #store(page: TablePage, slot: number, value: bigint, level: number | undefined): void {
    page.slots.set(slot, { value, level, address: undefined, by: "", at: 0 });
    if (!isTable(value, level)) return;
    const child = this.#shadow.pageAt(tableAddress(value, FORMAT));
    if (child !== undefined) child.parent = slot;
  }

  *#maintain(event: Observed, thread: Thread): Generator<string, void, undefined> {
    const steps = stepsOf(event, PAGE, true);
    const guest = thread.current;
    if (guest !== undefined && steps.length > 0) yield* this.#guests.enter(thread, guest);
    for (const step of steps) yield* this.#step(step, thread, guest);
    const flushed = steps.filter((step) => step.kind === "tlbi" && step.scope !== "combined");
    thread.broken = thread.broken.filter(
      (each) => !flushed.some((step) => reaches(step as Invalidation, each)),
    );
  }

  *#step(step: Step, thread: Thread, guest?: Guest): Generator<string, void, undefined> {
    const { number } = thread;
    if (step.kind === "dsb") yield this.#records.dsb(number, step.complete ? "ish" : "ishst");
    else if (step.kind === "isb") yield this.#records.isb(number);
    else if (guest === undefined || step.scope === "hyp") return;
    else if (step.scope === "stage2") yield* this.#byAddress(step, thread, guest);
    else yield this.#records.tlbi(number, WHOLE[step.scope]);
  }

  /** An invalidation by IPA, for each entry that the thread broke there. */
  *#byAddress(
    step: Invalidation,
    thread: Thread,
    guest: Guest,
  ): Generator<string, void, undefined> {
    const hit = thread.broken.filter((each) => each.guest === guest && reaches(step, each));
    if (hit.some((each) => coversTable(step, each))) {
      yield this.#records.tlbi(thread.number, WHOLE.vmid);
      return;
    }
    const addresses = hit.map(({ ipa }) => Math.max(ipa, step.from));
    for (const address of addresses.length === 0 ? [step.from] : addresses) {
      yield this.#records.tlbi(thread.number, "ipas2e1is", operand(address, step.level));
    }
  }

  /** The page table that a page hangs in. */
  #linkedIn(page: TablePage): Tree | undefined {
    let at: TablePage | undefined = page;
    while (at !== undefined && !this.#unlinked.has(at)) {
      if (at.rootOf !== undefined || at.parent === undefined) return at.rootOf;
      at = this.#shadow.pageOf(at.parent);
    }
    return undefined;
  }

  #pageOf(slot: number): TablePage {
    const page = this.#shadow.pageAt(slot - (slot % PAGE));
    if (page !== undefined) return page;
    throw unusable("an entry is in no page that the events tell of", { slot });
  }
}

/** Invalidations of everything of a kind. */
const WHOLE = { combined: "vmalle1is", vmid: "vmalls12e1is", all: "alle1is" } as const;

function reaches({ from, to }: Invalidation, { ipa, end }: Broken): boolean {
  return from < end && to > ipa;
}

/** Whether an invalidation by address covers a table and every leaf that was below it. */
function coversTable({ from, to, level, leaf }: Invalidation, broken: Broken): boolean {
  if (!broken.wide || leaf || (level !== undefined && level !== broken.level)) return false;
  return from <= broken.ipa && to >= broken.end;
}

/** Operand of TLBI IPAS2E1IS: the page, and the level if it is known (Arm ARM C5.5). */
function operand(address: number, level: number | undefined): bigint {
  const hint = level === undefined ? 0n : (TTL_4K | BigInt(level)) << TTL_SHIFT;
  return hint | (BigInt(address) >> PAGE_SHIFT);
}

function unusable(reason: string, details: object): Stage2Error {
  return new Stage2Error("BAD_INPUT", reason, details);
}
