/**
 * The event ring: what an operation did, in order, for tables that ask for it.
 *
 *   0     1       2      4     8           16          24
 *  +------+-------+------+-----+-----------+-----------+-----------+
 *  | kind | level | aux  | n   | a         | b         | c         |
 *  +------+-------+------+-----+-----------+-----------+-----------+
 *
 * A writer reserves a record by advancing the head, fills it in, and stores its first word last; a reader takes
 * records whose first word is not zero and clears it. A full ring drops and counts; it never overwrites.
 */
import { header, ring, H_EVENTS, H_EVENT_HEAD, H_EVENT_LOST, H_EVENT_TAIL, RECORD_BYTES } from "./layout";

// Groups: the bits of a table's event mask.
// @ts-ignore: decorator
@inline export const TABLES: u32 = 1;
// @ts-ignore: decorator
@inline export const REFERENCES: u32 = 2;
// @ts-ignore: decorator
@inline export const MAINTENANCE: u32 = 4;
// @ts-ignore: decorator
@inline export const FLUSH_CALLS: u32 = 8;
// @ts-ignore: decorator
@inline export const BARRIERS: u32 = 16;
// @ts-ignore: decorator
@inline export const WRITES: u32 = 32;
// @ts-ignore: decorator
@inline export const VISITS: u32 = 64;

// Kinds.
// @ts-ignore: decorator
@inline export const ALLOC: u32 = 1;
// @ts-ignore: decorator
@inline export const NOMEM: u32 = 2;
// @ts-ignore: decorator
@inline export const FREE: u32 = 3;
// @ts-ignore: decorator
@inline export const ALLOC_EXACT: u32 = 4;
// @ts-ignore: decorator
@inline export const FREE_EXACT: u32 = 5;
// @ts-ignore: decorator
@inline export const UNLINK: u32 = 6;
// @ts-ignore: decorator
@inline export const GET: u32 = 7;
// @ts-ignore: decorator
@inline export const PUT: u32 = 8;
// @ts-ignore: decorator
@inline export const TLBI_VMID: u32 = 16;
// @ts-ignore: decorator
@inline export const TLBI_IPA: u32 = 17;
// @ts-ignore: decorator
@inline export const TLBI_IPA_NSH: u32 = 18;
// @ts-ignore: decorator
@inline export const TLBI_RANGE: u32 = 19;
// @ts-ignore: decorator
@inline export const TLBI_VAE2IS: u32 = 20;
// @ts-ignore: decorator
@inline export const TLBI_VALE2IS: u32 = 21;
// @ts-ignore: decorator
@inline export const TLB_FLUSH_RANGE: u32 = 22;
// @ts-ignore: decorator
@inline export const DCACHE_CLEAN: u32 = 24;
// @ts-ignore: decorator
@inline export const ICACHE_INVAL: u32 = 25;
// @ts-ignore: decorator
@inline export const DSB_ISHST: u32 = 32;
// @ts-ignore: decorator
@inline export const DSB_ISH: u32 = 33;
// @ts-ignore: decorator
@inline export const ISB: u32 = 34;
// @ts-ignore: decorator
@inline export const WRITE: u32 = 40;
// @ts-ignore: decorator
@inline export const WRITE_UNLINKED: u32 = 41;
// @ts-ignore: decorator
@inline export const BREAK_LOST: u32 = 42;
// @ts-ignore: decorator
@inline export const VISIT: u32 = 48;
// @ts-ignore: decorator
@inline export const VISIT_END: u32 = 49;

// Of vCPUs.
// @ts-ignore: decorator
@inline export const HW_READ: u32 = 64;
// @ts-ignore: decorator
@inline export const HW_UPDATE: u32 = 65;
// @ts-ignore: decorator
@inline export const TLB_FILL: u32 = 66;
// @ts-ignore: decorator
@inline export const TLB_STALE: u32 = 67;
// @ts-ignore: decorator
@inline export const TLB_CONFLICT: u32 = 68;
// @ts-ignore: decorator
@inline export const CONTIGUOUS: u32 = 69;
// @ts-ignore: decorator
@inline export const TLBI: u32 = 70;

/** A level that the operation does not know. */
// @ts-ignore: decorator
@inline export const LEVEL_UNKNOWN: i32 = 127;

/** False: the ring is full, and the event is counted as lost. */
export function append(kind: u32, level: i32, aux: u32, n: u32, a: u64, b: u64, c: u64): bool {
  const capacity = load<u32>(header, H_EVENTS);
  const number = reserve(capacity);
  if (number < 0) return false;
  const record = recordAt(<u32>number, capacity);
  store<u64>(record, a, 8);
  store<u64>(record, b, 16);
  store<u64>(record, c, 24);
  atomic.store<u64>(record, <u64>kind | <u64>(level & 0xff) << 8 | <u64>(aux & 0xffff) << 16 | <u64>n << 32);
  return true;
}

// @ts-ignore: decorator
@inline function recordAt(number: u32, capacity: u32): usize {
  return ring + <usize>(number & (capacity - 1)) * RECORD_BYTES;
}

/** Number of a record that is now this thread's to fill, or -1. The tail is read first: it never passes the head. */
function reserve(capacity: u32): i64 {
  while (true) {
    const from = tail();
    const head = atomic.load<u32>(header, H_EVENT_HEAD);
    if (head - from >= capacity) {
      if (tail() != from) continue; // a reader made room meanwhile
      atomic.add<u32>(header, 1, H_EVENT_LOST);
      return -1;
    }
    if (atomic.cmpxchg<u32>(header, head, head + 1, H_EVENT_HEAD) == head) return head;
    // lost: another thread took this record, reserve the next
  }
}

/** Records that are complete, from the tail on. */
export function count(): u32 {
  const capacity = load<u32>(header, H_EVENTS);
  const from = tail();
  const reserved = atomic.load<u32>(header, H_EVENT_HEAD) - from;
  let complete: u32 = 0;
  while (complete < reserved && <u32>atomic.load<u64>(recordAt(from + complete, capacity)) != 0) complete++;
  return complete;
}

export function tail(): u32 { return atomic.load<u32>(header, H_EVENT_TAIL); }

/** Gives back up to `records` complete records, oldest first. */
export function consume(records: u32): void {
  const capacity = load<u32>(header, H_EVENTS);
  const from = tail();
  const reserved = min(records, atomic.load<u32>(header, H_EVENT_HEAD) - from);
  let taken: u32 = 0;
  while (taken < reserved) {
    const record = recordAt(from + taken, capacity);
    if (<u32>atomic.load<u64>(record) == 0) break; // its writer is not done
    atomic.store<u64>(record, 0);
    taken++;
  }
  atomic.store<u32>(header, from + taken, H_EVENT_TAIL);
}

export function lost(): u32 { return atomic.xchg<u32>(header, 0, H_EVENT_LOST); }
