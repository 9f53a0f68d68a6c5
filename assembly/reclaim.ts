/**
 * Taking everything from a thread that has ended without leaving: locks, sections, bracket, vCPUs, caches, its slot. The
 * caller vouches for it: a thread that lives on would go on using what is no longer its own.
 */
import * as cache from "./cache";
import { EINVAL } from "./errno";
import { header, H_OBJECTS, OBJECT_BYTES, objects, threadSlot, T_HOLDS } from "./layout";
import { HYP, Pgt, STAGE2 } from "./pgt";
import { forgetCoalesce } from "./pool";
import { forgetWaiting, HOLDS, takeFromDead, WAITS } from "./sync/lock";
import { endSections, flagsOf, giveThread, HAS_CLAIM, HAS_WRITE, isOther, isTaken } from "./sync/thread";
import { destroyAllOf } from "./vcpu/create";

/** What the thread was in the middle of (sync/thread.ts), or -EINVAL: the slot is free, or the caller's own. */
export function reclaim(number: u32): i32 {
  if (!isTaken(number) || !isOther(number)) return -EINVAL;
  let flags = flagsOf(number);
  const holds = <usize>atomic.load<u32>(threadSlot(number), T_HOLDS);
  if (holds && (holds & HOLDS) == WAITS) forgetWaiting(holds);
  const end = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < end; slot += OBJECT_BYTES) {
    const kind = atomic.load<u32>(slot);
    if (kind == STAGE2 || kind == HYP) {
      if (takeFromDead(changetype<Pgt>(slot).lock, number) && !(flags & HAS_CLAIM)) flags |= HAS_WRITE;
    } else if (cache.isCacheOf(slot, number)) {
      cache.destroy(slot);
    }
  }
  destroyAllOf(number);
  endSections(number);
  forgetCoalesce(number);
  giveThread(threadSlot(number));
  return <i32>flags;
}
