/** Leaves that a guest still has when its VM ends: unshared, or reclaimed, so that every page's owner and count stay right. */
import { isValid } from "../descriptor";
import { levelShift } from "../geometry";
import { levelOf, look, seen } from "../walk";
import { unshare } from "./guest";
import { reclaim } from "./guest_private";
import { stateIn } from "./leaf";
import { Machine } from "./machine";
import { SHARED_BORROWED } from "./page";
import { HypVm } from "./vms";

/** With the host's lock; nobody else has the VM any more. */
export function takeLeaves(m: Machine, vm: HypVm): void {
  for (let ipa: u64 = 0; ipa < m.paLimit;) {
    const size = <u64>1 << levelShift(m.pageShift, levelOf(look(vm.pgt, ipa)));
    if (isValid(seen)) {
      if (stateIn(seen) == SHARED_BORROWED) unshare(m, vm, ipa, size >> m.pageShift);
      else reclaim(m, vm, ipa);
    }
    ipa = (ipa & ~(size - 1)) + size; // the table of a leaf may have gone with it
  }
}
