/** An abort that waits to be told its page: kept in the context, as the thread may do anything else meanwhile. */
import { Context, PENDING } from "./context";

// Kinds of access.
// @ts-ignore: decorator
@inline export const WRITE: u32 = 1;
// @ts-ignore: decorator
@inline export const EXEC: u32 = 2;
// @ts-ignore: decorator
@inline export const PERMISSION: u32 = 4;

@unmanaged
@final
export class Pending {
  esr: u64;
  far: u64;
  ipa: u64;
  /** mmu_invalidate_seq from before the page was asked for. */
  sequence: u64;
  base: u64;
  slotHva: u64;
  kind: u32;
  slot: u32;
  /** Of the slot's record: another one now means another slot, or none. */
  edition: u32;
  slotFlags: u32;
  fromEl0: bool;
}

// @ts-ignore: decorator
@inline export function pendingOf(c: Context): Pending { return changetype<Pending>(c.word(PENDING)); }
