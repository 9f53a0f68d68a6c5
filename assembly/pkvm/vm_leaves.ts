/** Leaves that a guest still has when its VM ends: unshared, or reclaimed, so that every page's owner and count stay right. */
import { isValid } from "../descriptor";
import { levelShift } from "../geometry";
import { levelOf, look, seen } from "../walk";
import { unshare } from "./guest";
import { reclaim } from "./guest_private";
import { stateIn } from "./leaf";
import { acquireBoth, releaseBoth } from "./locks";
import { HOST_LOCK, Machine } from "./machine";
import { SHARED_BORROWED } from "./page";
import { HypVm } from "./vms";

/** Nobody else has the VM any more. */
export function takeLeaves(m: Machine, vm: HypVm): void {
  const locked = acquireBoth(m.word(HOST_LOCK), vm.lock); // the VM is out of the table: it ends in any case
  for (let ipa: u64 = 0; ipa < m.paLimit;) {
    const size = <u64>1 << levelShift(m.pageShift, levelOf(look(vm.pgt, ipa)));
    if (isValid(seen)) {
      if (stateIn(seen) == SHARED_BORROWED) unshare(m, vm, ipa, size >> m.pageShift);
      else reclaim(m, vm, ipa);
    }
    ipa = (ipa & ~(size - 1)) + size; // the table of a leaf may have gone with it
  }
  if (locked == 0) releaseBoth(m.word(HOST_LOCK), vm.lock);
}
