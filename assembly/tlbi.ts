/**
 * The TLB invalidation log: what was invalidated, for every vCPU to apply before its next translation.
 *
 *   0     4    5       6      8           16      20     22       24
 *  +-----+----+-------+------+-----------+-------+------+--------+
 *  | seq | op | level | VMID | address   | pages | ASID | thread |
 *  +-----+----+-------+------+-----------+-------+------+--------+
 *
 * A writer takes a number from the head, fills the record in and stores the number last. A reader that is a whole ring
 * behind, or that finds a number from another round, has missed something: it drops everything it holds, which is
 * always right.
 */
import { H_TLBI_HEAD, header, RECORD_BYTES, TLBI_RECORDS, tlbiLog } from "./layout";

// What is invalidated (Arm ARM D8.14), on other CPUs too unless the record names a thread.
// @ts-ignore: decorator
@inline export const IPAS2E1: u32 = 1;
// @ts-ignore: decorator
@inline export const IPAS2LE1: u32 = 2;
// @ts-ignore: decorator
@inline export const RIPAS2E1: u32 = 3;
// @ts-ignore: decorator
@inline export const RIPAS2LE1: u32 = 4;
// @ts-ignore: decorator
@inline export const VMALLE1: u32 = 5;
// @ts-ignore: decorator
@inline export const VMALLS12E1: u32 = 6;
// @ts-ignore: decorator
@inline export const ALLE1: u32 = 7;
// @ts-ignore: decorator
@inline export const VAE1: u32 = 8;
// @ts-ignore: decorator
@inline export const VALE1: u32 = 9;
// @ts-ignore: decorator
@inline export const VAAE1: u32 = 10;
// @ts-ignore: decorator
@inline export const VAALE1: u32 = 11;
// @ts-ignore: decorator
@inline export const ASIDE1: u32 = 12;
// @ts-ignore: decorator
@inline export const RVAE1: u32 = 13;
// @ts-ignore: decorator
@inline export const RVALE1: u32 = 14;
// @ts-ignore: decorator
@inline export const RVAAE1: u32 = 15;
// @ts-ignore: decorator
@inline export const RVAALE1: u32 = 16;

/** In place of a thread: a broadcast. */
// @ts-ignore: decorator
@inline export const ALL_THREADS: u32 = 0xffff;

// @ts-ignore: decorator
@inline export function head(): u32 { return atomic.load<u32>(header, H_TLBI_HEAD); }

// @ts-ignore: decorator
@inline export function recordAt(number: u32): usize {
  return tlbiLog + <usize>(number & (TLBI_RECORDS - 1)) * RECORD_BYTES;
}

/** A broadcast was logged since this thread last took something away: there is a position to catch up with. */
export let recorded: bool = false;

export function forgetRecord(): void { recorded = false; }

/** Logs one invalidation. `pages` of 4 KiB from `address`; `threads` is one thread's number or ALL_THREADS. */
export function announce(
  op: u32, level: i32, vmid: u32, asid: u32, address: u64, pages: u32, threads: u32,
): void {
  if (threads == ALL_THREADS) recorded = true;
  const number = atomic.add<u32>(header, 1, H_TLBI_HEAD);
  const record = recordAt(number);
  atomic.store<u32>(record, 0); // from here on it is nobody's: a reader of the last round finds out
  atomic.store<u32>(record, (op & 0xff) | (level & 0xff) << 8 | vmid << 16, 4);
  atomic.store<u64>(record, address, 8);
  atomic.store<u64>(record, <u64>pages | <u64>(asid & 0xffff) << 32 | <u64>threads << 48, 16);
  atomic.store<u32>(record, number + 1);
}

/** Whether record `number` is complete and still there. */
// @ts-ignore: decorator
@inline export function isComplete(number: u32): bool { return atomic.load<u32>(recordAt(number)) == number + 1; }

// @ts-ignore: decorator
@inline export function opOf(record: usize): u32 { return load<u8>(record, 4); }
// @ts-ignore: decorator
@inline export function levelOf(record: usize): i32 { return load<i8>(record, 5); }
// @ts-ignore: decorator
@inline export function vmidOf(record: usize): u32 { return load<u16>(record, 6); }
// @ts-ignore: decorator
@inline export function addressOf(record: usize): u64 { return load<u64>(record, 8); }
// @ts-ignore: decorator
@inline export function pagesOf(record: usize): u32 { return load<u32>(record, 16); }
// @ts-ignore: decorator
@inline export function asidOf(record: usize): u32 { return load<u16>(record, 20); }
// @ts-ignore: decorator
@inline export function threadOf(record: usize): u32 { return load<u16>(record, 22); }
