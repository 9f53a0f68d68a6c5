/** Looking without touching: one leaf, a resumable listing, and the generic walk that records its visits. */
import { isTable, isValid, LAST_LEVEL, outputAddress, TABLE_ADDRESS, VALID } from "../descriptor";
import { EINVAL, ERANGE } from "../errno";
import { levelShift } from "../geometry";
import { argument, BATCH_RECORDS, RECORD_BYTES, scratch, setArgument, setResult, S_BATCH, S_VISITOR } from "../layout";
import { Pgt } from "../pgt";
import * as pool from "../pool";
import * as slots from "../slot";
import { childOf, findUsual, LEAF, levelOf, look, seen, SILENT, slotOf, TABLE_POST, TABLE_PRE, walk, walkUnlinked, Walk } from "../walk";

// What a listing wants.
// @ts-ignore: decorator
@inline const LEAVES: u32 = 1;
// @ts-ignore: decorator
@inline const TABLES: u32 = 2;
// @ts-ignore: decorator
@inline const INVALID: u32 = 4;
// @ts-ignore: decorator
@inline const EMPTY: u32 = 8;

/** The batch is full: the walk stops and the cursor says where to go on. */
// @ts-ignore: decorator
@inline const FULL: i32 = 1;

// The level floor of a cursor that stands at no table.
// @ts-ignore: decorator
@inline const BEGIN: i32 = -2; // tables around the first address are listed too
// @ts-ignore: decorator
@inline const BEHIND_LEAF: i32 = -3;

/**
 *   0         8       16      17      18   20           24     28
 *  +---------+-------+-------+-------+----+------------+------+---+
 *  | address | entry | level | visit | 0  | references | slot | 0 |
 *  +---------+-------+-------+-------+----+------------+------+---+
 */
function record(index: u32, address: u64, pte: u64, level: i32, visit: u32, slot: usize): void {
  const at = scratch + S_BATCH + <usize>index * RECORD_BYTES;
  store<u64>(at, address);
  store<u64>(at, pte, 8);
  store<u32>(at, (<u32>level & 0xff) | visit << 8, 16);
  store<u32>(at, isTable(pte, level) ? pool.references(childOf(pte)) : 0, 20);
  store<u64>(at, <u64>slot, 24);
}

@unmanaged
@final
class ListVisitor extends Walk {
  want: u32;
  count: u32;
  /** Where this call started, and the level floor it started with. */
  from: u64;
  floor: i32;
  /** Where the next call starts. */
  next: u64;
  nextFloor: i32;

  // @ts-ignore: decorator
  @inline get runs(): bool { return true; }

  /** Lines of empty entries are passed over, unless those are wanted too. */
  run(slot: usize, stop: usize): i32 {
    const first = this.addr;
    const start = slot;
    const all = i64x2.splat(-1);
    const none = i64x2.splat(0);
    let result = 0;
    while (slot < stop && result == 0) {
      if (!(slot & 63) && !(this.want & EMPTY) && slots.matching8(slot, all, none) == 0xff) {
        slot += 64;
        continue;
      }
      this.addr = first + (<u64>((slot - start) >> 3) << this.pageShift);
      result = this.leaf(slot, slots.read(slot), LAST_LEVEL);
      slot += 8;
    }
    this.addr = first;
    return result;
  }

  pre(slot: usize, old: u64, level: i32): i32 {
    const base = this.baseOf(level);
    const fresh = this.floor == BEGIN || base > this.from || (base == this.from && level > this.floor);
    if (!fresh || !(this.want & TABLES)) return 0;
    if (this.count == BATCH_RECORDS) return FULL;
    record(this.count++, base, old, level, TABLE_PRE, slot);
    this.next = max(base, this.from);
    this.nextFloor = level;
    return 0;
  }

  leaf(slot: usize, old: u64, level: i32): i32 {
    const kind = isValid(old) ? LEAVES : old ? INVALID : EMPTY;
    const base = this.baseOf(level);
    if (this.want & kind) {
      if (this.count == BATCH_RECORDS) return FULL;
      record(this.count++, base, old, level, LEAF, slot);
    }
    this.next = base + (<u64>1 << levelShift(this.pageShift, level));
    this.nextFloor = BEHIND_LEAF;
    return 0;
  }

  post(slot: usize, old: u64, level: i32): i32 { return 0; }

  private baseOf(level: i32): u64 {
    return this.addr & ~((<u64>1 << levelShift(this.pageShift, level)) - 1);
  }
}

function prepare(want: u32): ListVisitor {
  const visitor = changetype<ListVisitor>(scratch + S_VISITOR);
  visitor.want = want;
  visitor.count = 0;
  visitor.from = argument(0);
  visitor.floor = <i32>argument(2);
  visitor.next = visitor.from;
  visitor.nextFloor = visitor.floor;
  return visitor;
}

function finish(visitor: ListVisitor, result: i32, end: u64): i32 {
  if (result < 0) return result;
  setArgument(0, result == FULL ? visitor.next : end);
  setArgument(2, <u64>(result == FULL ? visitor.nextFloor : BEHIND_LEAF));
  return <i32>visitor.count;
}

/** Lists from the cursor in arguments 0 to 2 into the batch, and moves the cursor on. */
export function list(pgt: Pgt, want: u32): i32 {
  const visitor = prepare(want);
  const end = argument(1);
  if (visitor.from >= end) return 0;
  const start = visitor.from & ~((<u64>1 << pgt.pageShift) - 1);
  const result = walk<ListVisitor>(visitor, pgt, start, end - start, LEAF | TABLE_PRE | SILENT);
  return finish(visitor, result, end);
}

/** The same for a table that is in no tree, from where the cursor stands. */
export function listUnlinked(pgt: Pgt, table: usize, level: i32, want: u32): i32 {
  const visitor = prepare(want);
  const end = argument(1);
  if (visitor.from >= end) return 0;
  const result = walkUnlinked<ListVisitor>(visitor, pgt, table, level, visitor.from, LEAF | TABLE_PRE | SILENT);
  return finish(visitor, result, end);
}

@unmanaged
@final
class RecordVisitor extends Walk {
  visits: u32;
  skip: u32;
  stopAt: u32;
  stopResult: i32;

  // @ts-ignore: decorator
  @inline get runs(): bool { return false; }

  run(slot: usize, stop: usize): i32 { return 0; }

  pre(slot: usize, old: u64, level: i32): i32 { return this.visit(slot, old, level, TABLE_PRE); }

  leaf(slot: usize, old: u64, level: i32): i32 { return this.visit(slot, old, level, LEAF); }

  post(slot: usize, old: u64, level: i32): i32 { return this.visit(slot, old, level, TABLE_POST); }

  private visit(slot: usize, old: u64, level: i32, kind: u32): i32 {
    const index = this.visits++;
    if (index >= this.skip && index - this.skip < BATCH_RECORDS) {
      record(index - this.skip, this.addr, old, level, kind, slot);
    }
    return this.visits == this.stopAt ? this.stopResult : 0;
  }
}

/** kvm_pgtable_walk with a visitor that records what it sees. Visits in result 0. */
export function generic(
  pgt: Pgt, ia: u64, size: u64, flags: u32, skip: u32, stopAt: u32, stopResult: i32,
): i32 {
  const visitor = changetype<RecordVisitor>(scratch + S_VISITOR);
  visitor.visits = 0;
  visitor.skip = skip;
  visitor.stopAt = stopAt;
  visitor.stopResult = stopResult;
  const result = walk<RecordVisitor>(visitor, pgt, ia, size, flags | SILENT);
  setResult(0, visitor.visits);
  return result;
}

/** kvm_pgtable_get_leaf: entry and level of the leaf, valid or not, that decides `ia`. */
export function getLeaf(pgt: Pgt, ia: u64): i32 {
  if (ia >> pgt.iaBits) return -ERANGE;
  const found = look(pgt, ia);
  if (!found) return -EINVAL;
  setResult(0, seen);
  setResult(1, <u64>levelOf(found));
  return 0;
}

/** Output address of `ia`, or -1 where no valid leaf is. Neither permissions nor the access flag are looked at. */
export function lookup(pgt: Pgt, ia: u64): f64 {
  if (ia < pgt.usualLimit) {
    const found = findUsual(pgt, ia);
    const pte = slots.read(slotOf(found));
    if (levelOf(found) == LAST_LEVEL && pte & VALID) return <f64><i64>((pte & TABLE_ADDRESS) | (ia & 0xfff));
  }
  return lookupAnywhere(pgt, ia);
}

function lookupAnywhere(pgt: Pgt, ia: u64): f64 {
  const found = look(pgt, ia);
  if (!found || !(seen & VALID)) return -1;
  const inLeaf = (<u64>1 << levelShift(pgt.pageShift, levelOf(found))) - 1;
  return <f64><i64>((outputAddress(seen, pgt.pageShift, pgt.lpa2) & ~inLeaf) | (ia & inLeaf));
}
