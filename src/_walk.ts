/** The generic walk with a visitor of the caller's: `kvm_pgtable_walk`. */
import { outcome } from "./_outcome.ts";
import type { TableCore } from "./_table.ts";
import { EAGAIN, Stage2Error, errnoError, errnoName } from "./errors.ts";
import { Batch } from "./iterate.ts";
import { WalkFlag, walkFlags } from "./prot.ts";
import { type Range, span } from "./range.ts";

/** One visit of a walk. */
export interface Visit {
  /** `pre` and `post`: a table before and after what it holds. `leaf`: any other entry, empty ones included. */
  readonly kind: "leaf" | "pre" | "post";
  readonly level: number;
  /** Current address: where the walk is, which may lie inside a block. */
  readonly ipa: number;
  /** The entry as it was read. */
  readonly pte: bigint;
  /** Physical address of the entry itself. */
  readonly slot: number;
}

/** Called for each visit. A negative errno ends the walk (-EAGAIN only if HANDLE_FAULT is set); anything else goes on. */
export type Visitor = (visit: Visit) => number | void;

/** {@link Stage2.walk} */
export interface WalkRequest extends Range {
  /** {@link WalkFlag} bits: which visits (LEAF, TABLE_PRE, TABLE_POST), and SHARED, HANDLE_FAULT. Default LEAF. */
  flags?: number | undefined;
}

const KINDS = { 1: "leaf", 2: "pre", 4: "post" } as const;

/** Visits of one kind or another: how often the core calls the visitor. */
const VISITS = WalkFlag.LEAF | WalkFlag.TABLE_PRE | WalkFlag.TABLE_POST;
/** Most visits of tables in a stretch: before and after each of the levels above the last. */
const TABLE_VISITS = 8;

/** Walks; the errno that ended the walk is returned, 0 at its end. */
export function walk(table: TableCore, request: WalkRequest, visitor: Visitor): number {
  const { ipa, size } = span(request);
  const flags = walkFlags(request.flags ?? WalkFlag.LEAF);
  if (typeof visitor !== "function") {
    throw new Stage2Error("BAD_OPTION", "the visitor must be a function", { visitor });
  }
  for (const stretch of record(table, ipa, size, flags)) {
    for (const visit of stretch.visits(flags)) {
      const result = visitor(visit) ?? 0;
      const ignored = result === -EAGAIN && !(flags & WalkFlag.HANDLE_FAULT);
      if (result < 0 && !ignored) return result;
    }
  }
  return 0;
}

/**
 * All visits, taken before the first is reported: what the visitor does cannot disturb the walk. Recorded in stretches
 * of a fixed number of pages that fit one batch, so that the effort grows with the range, not with its square.
 */
function record(table: TableCore, ipa: number, size: number, flags: number): Stretch[] {
  const { core } = table.context;
  // Whether such a walk may be is the core's to say: once, for the whole of it, before any visit.
  const whole = core.s2_walk(table.pointer, ipa, size, flags & ~VISITS, 0, 0, 0);
  outcome(table.context, whole, "walk", { ipa, size, flags });
  const page = 2 ** table.shape.pageShift;
  const start = ipa - (ipa % page);
  const end = start + Math.ceil(size / page) * page; // as the core rounds
  const most = page * 2 ** Math.floor(Math.log2(core.batch_capacity() - TABLE_VISITS));
  const taken: Stretch[] = [];
  for (let from = start; from < end;) {
    const stop = Math.min(end, from - (from % most) + most);
    const stretch = new Stretch(table, { start, end, from, stop }, flags);
    taken.push(stretch);
    from = stretch.next;
  }
  return taken;
}

/** A part of a walk: the walk from `start` to `end`, of which this is `from` to `stop`. */
interface Part {
  readonly start: number;
  readonly end: number;
  readonly from: number;
  readonly stop: number;
}

/**
 * The visits of a part of a walk, made by a walk of their own. They are those of the whole walk if one leaves out what
 * began before the part (tables on the way down) and what goes on behind it (tables on the way up).
 */
class Stretch {
  /** Where the walk goes on: behind the last leaf, which may reach beyond the part. */
  readonly next: number;
  readonly #table: TableCore;
  readonly #part: Part;
  readonly #batch: Batch;

  constructor(table: TableCore, part: Part, flags: number) {
    const { context, pointer } = table;
    const { from, stop } = part;
    // Leaves are wanted even if the visitor does not: they tell how far to jump.
    const asked = flags | WalkFlag.LEAF;
    const status = context.core.s2_walk(pointer, from, stop - from, asked, 0, 0, 0);
    outcome(context, status, "walk", part);
    this.#table = table;
    this.#part = part;
    this.#batch = new Batch(context, context.resultNumber(0));
    this.next = Math.max(stop, this.#lastLeafEnd());
  }

  *visits(flags: number): Generator<Visit, void, undefined> {
    for (let i = 0; i < this.#batch.length; i++) {
      if (flags & this.#batch.visit(i) && this.#isMine(i)) yield this.#visit(i);
    }
  }

  #isMine(index: number): boolean {
    const { start, end, from } = this.#part;
    const base = this.#base(index);
    if (this.#batch.visit(index) !== WalkFlag.TABLE_POST) return from === start || base >= from;
    return this.next >= end || base + this.#size(index) <= this.next;
  }

  #visit(index: number): Visit {
    const batch = this.#batch;
    const kind = KINDS[batch.visit(index) as keyof typeof KINDS];
    return {
      kind,
      level: batch.level(index),
      // After a table the address is that at which the whole walk entered it.
      ipa: kind === "post" ? Math.max(this.#base(index), this.#part.start) : batch.address(index),
      pte: batch.pte(index),
      slot: this.#table.context.physical(batch.slot(index)),
    };
  }

  #lastLeafEnd(): number {
    let index = this.#batch.length - 1;
    while (index >= 0 && this.#batch.visit(index) !== WalkFlag.LEAF) index--;
    return index < 0 ? 0 : this.#base(index) + this.#size(index);
  }

  /** First address of the entry visited. */
  #base(index: number): number {
    const address = this.#batch.address(index);
    return address - (address % this.#size(index));
  }

  #size(index: number): number {
    return this.#table.decoder.size(this.#batch.level(index));
  }
}

/** Passes on a walk's result as the facade does. */
export function walkResult(status: number, request: WalkRequest): "ok" | "again" {
  if (status === 0) return "ok";
  if (status === -EAGAIN) return "again";
  if (errnoName(-status) !== undefined) throw errnoError(status, "walk", request);
  throw new Stage2Error("BAD_OPTION", "the visitor returned an unknown errno", { result: status });
}
