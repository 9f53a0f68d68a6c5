/**
 * Taking everything from a thread that has ended without leaving: locks, sections, bracket, vCPUs, caches, its slot. The
 * caller vouches for it: a thread that lives on would go on using what is no longer its own.
 */
import * as cache from "./cache";
import { EINVAL } from "./errno";
import { header, H_OBJECTS, OBJECT_BYTES, objects, threadSlot, T_GENERATION, T_HOLDS, T_HOLDS_TABLE, T_OWN, T_PAGES, T_TABLE, T_TREES } from "./layout";
import { bury } from "./operation";
import { unhold } from "./holders";
import { HYP, liveGeneration, Pgt, STAGE2 } from "./pgt";
import { releaseMachines } from "./pkvm/reclaim";
import { forgetCoalesce, pageAt } from "./pool";
import { detach, levelIn, orphans, putBack } from "./retire";
import { forgetWaiting, HOLDS, takeFromDead, WAITS } from "./sync/lock";
import { beginReclaim, endSections, flagsOf, giveThread, HAS_CLAIM, HAS_WRITE } from "./sync/thread";
import { destroyAllOf } from "./vcpu/create";
import { releaseVms } from "./vm/reclaim";
import { forgetVmidLock } from "./vmid";

/** What it had in its hands while it waited is freed by the next operation that can. */
function takeOver(slot: usize): void {
  putBack(orphans(), pageAt(load<u32>(slot, T_PAGES)));
  const table = <usize>load<u32>(slot, T_TABLE);
  const holds = load<u32>(slot, T_HOLDS_TABLE) != 0; // then the object is still the same, destroyed or not
  if (table && (holds || liveGeneration(table) == load<u32>(slot, T_GENERATION))) {
    const detached = changetype<Pgt>(table).detached;
    putBack(detached, pageAt(load<u32>(slot, T_TREES)));
    const own = load<u32>(slot, T_OWN);
    if (own) detach(detached, pageAt(own), levelIn(own));
  }
  if (holds && unhold(changetype<Pgt>(table), slot)) bury(changetype<Pgt>(table));
  store<u32>(slot, 0, T_PAGES);
  store<u32>(slot, 0, T_TREES);
  store<u32>(slot, 0, T_OWN);
}

/** What the thread was in the middle of (sync/thread.ts), or -EINVAL: the slot is free, or the caller's own. */
export function reclaim(number: u32): i32 {
  if (!beginReclaim(number)) return -EINVAL;
  let flags = flagsOf(number);
  const holds = <usize>atomic.load<u32>(threadSlot(number), T_HOLDS);
  if (holds && (holds & HOLDS) == WAITS) forgetWaiting(holds);
  const end = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < end; slot += OBJECT_BYTES) {
    const kind = atomic.load<u32>(slot);
    if (kind == STAGE2 || kind == HYP) {
      if (takeFromDead(changetype<Pgt>(slot).lock, number) && !(flags & HAS_CLAIM)) flags |= HAS_WRITE;
    }
  }
  releaseMachines(number);
  releaseVms(number);
  cache.destroyAllOf(number);
  destroyAllOf(number);
  takeOver(threadSlot(number));
  endSections(number);
  forgetCoalesce(number);
  forgetVmidLock(number);
  giveThread(threadSlot(number));
  return <i32>flags;
}
