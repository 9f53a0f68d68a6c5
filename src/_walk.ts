/** The generic walk with a visitor of the caller's: `kvm_pgtable_walk`. */
import type { TableCore } from "./_table.ts";
import { EAGAIN, check, errnoError } from "./errors.ts";
import { Batch } from "./iterate.ts";
import { WalkFlag, walkFlags } from "./prot.ts";
import { type Range, address, byteCount } from "./range.ts";

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

/** Walks; the errno that ended the walk is returned, 0 at its end. */
export function walk(table: TableCore, request: WalkRequest, visitor: Visitor): number {
  const ipa = address(request.ipa, "ipa");
  const size = byteCount(request.size, ipa);
  const flags = walkFlags(request.flags ?? WalkFlag.LEAF);
  for (const batch of record(table, ipa, size, flags)) {
    for (let i = 0; i < batch.length; i++) {
      const result = visitor(visit(table, batch, i)) ?? 0;
      const ignored = result === -EAGAIN && !(flags & WalkFlag.HANDLE_FAULT);
      if (result < 0 && !ignored) return result;
    }
  }
  return 0;
}

/** All visits, taken before the first is reported: what the visitor does cannot disturb the walk. */
function record(table: TableCore, ipa: number, size: number, flags: number): Batch[] {
  const { context } = table;
  const { core } = context;
  const capacity = core.batch_capacity();
  const taken: Batch[] = [];
  let visits = Infinity;
  for (let skip = 0; skip < visits; skip += capacity) {
    check(core.s2_walk(table.pointer, ipa, size, flags, skip, 0, 0), "walk", { ipa, size, flags });
    visits = context.resultNumber(0);
    taken.push(new Batch(context, Math.max(0, Math.min(capacity, visits - skip))));
  }
  return taken;
}

function visit(table: TableCore, batch: Batch, index: number): Visit {
  return {
    kind: KINDS[batch.visit(index) as keyof typeof KINDS],
    level: batch.level(index),
    ipa: batch.address(index),
    pte: batch.pte(index),
    slot: table.context.physical(batch.slot(index)),
  };
}

/** Passes on a walk's result as the facade does. */
export function walkResult(status: number, request: WalkRequest): "ok" | "again" {
  if (status === 0) return "ok";
  if (status === -EAGAIN) return "again";
  throw errnoError(status, "walk", request);
}
