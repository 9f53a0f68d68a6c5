/**
 * The hypercall boundary. Whoever calls is not trusted: every argument is any 64-bit word, every list is read once, and what a call
 * needs (a handle, a loaded vCPU) is looked up here and held until the call is over.
 */
import { EAGAIN, EINVAL, EPERM, ETIMEDOUT } from "../errno";
import { argument, scratch, S_BATCH, shared } from "../layout";
import { refuse, settle, vcpuInside } from "../operation";
import { beginWaiting, isLate } from "../sync/wait";
import * as guest from "./guest";
import { donateGuest, forceReclaim, lendHost, reclaimPage } from "./guest_private";
import { hostAbort, mapHost, setHostOwner } from "./host";
import * as hyp from "./hyp";
import { acquire, release } from "./locks";
import { FINAL_CPUS, Machine, PROTECTED_GUESTS, VM_TABLE_LOCK } from "./machine";
import { refill } from "./memcache";
import { EITHER, holdLoaded, initVcpu, loadVcpu, PROTECTED, putVcpu, SHARING } from "./vcpus";
import { initVm, teardownVm } from "./vm_life";
import { held, hold, holdFor, letGo, markDying, reserveVm, unreserveVm } from "./vms";

/** SMCCC: there is no such call, or not any more. */
// @ts-ignore: decorator
@inline export const NOT_SUPPORTED: i32 = i32.MIN_VALUE;

// Calls of the host; of the guest on the loaded vCPU; of the hypervisor itself.
// @ts-ignore: decorator
@inline const SHARE_HYP: u32 = 1;
// @ts-ignore: decorator
@inline const UNSHARE_HYP: u32 = 2;
// @ts-ignore: decorator
@inline const SHARE_GUEST: u32 = 3;
// @ts-ignore: decorator
@inline const UNSHARE_GUEST: u32 = 4;
// @ts-ignore: decorator
@inline const RELAX_PERMS_GUEST: u32 = 5;
// @ts-ignore: decorator
@inline const WRPROTECT_GUEST: u32 = 6;
// @ts-ignore: decorator
@inline const TEST_CLEAR_YOUNG_GUEST: u32 = 7;
// @ts-ignore: decorator
@inline const MKYOUNG_GUEST: u32 = 8;
// @ts-ignore: decorator
@inline const TLB_FLUSH_VMID: u32 = 9;
// @ts-ignore: decorator
@inline const PROT_FINALIZE: u32 = 10;
// @ts-ignore: decorator
@inline const RESERVE_VM: u32 = 11;
// @ts-ignore: decorator
@inline const UNRESERVE_VM: u32 = 12;
// @ts-ignore: decorator
@inline const INIT_VM: u32 = 13;
// @ts-ignore: decorator
@inline const INIT_VCPU: u32 = 14;
// @ts-ignore: decorator
@inline const VCPU_LOAD: u32 = 15;
// @ts-ignore: decorator
@inline const VCPU_PUT: u32 = 16;
// @ts-ignore: decorator
@inline const TEARDOWN_VM: u32 = 17;
// @ts-ignore: decorator
@inline const START_TEARDOWN: u32 = 18;
// @ts-ignore: decorator
@inline const RECLAIM_DYING_PAGE: u32 = 19;
// @ts-ignore: decorator
@inline const DONATE_GUEST: u32 = 20;
// @ts-ignore: decorator
@inline const FORCE_RECLAIM: u32 = 21;
// @ts-ignore: decorator
@inline const SHARE_FFA: u32 = 22;
// @ts-ignore: decorator
@inline const UNSHARE_FFA: u32 = 23;
// @ts-ignore: decorator
@inline const EARLY_DONATE_HYP: u32 = 24;
// @ts-ignore: decorator
@inline const GUEST_SHARE_HOST: u32 = 40;
// @ts-ignore: decorator
@inline const GUEST_UNSHARE_HOST: u32 = 41;
// @ts-ignore: decorator
@inline const DONATE_HYP: u32 = 64;
// @ts-ignore: decorator
@inline const HYP_DONATE_HOST: u32 = 65;
// @ts-ignore: decorator
@inline const PIN: u32 = 66;
// @ts-ignore: decorator
@inline const UNPIN: u32 = 67;
// @ts-ignore: decorator
@inline const RECLAIM_PAGE: u32 = 68;
// @ts-ignore: decorator
@inline const HOST_MAP: u32 = 69;
// @ts-ignore: decorator
@inline const SET_OWNER: u32 = 70;
// As the calls of the host, on a guest of either kind.
// @ts-ignore: decorator
@inline const SHARE_GUEST_PAGE: u32 = 71;
// @ts-ignore: decorator
@inline const DONATE_GUEST_PAGE: u32 = 72;
// @ts-ignore: decorator
@inline const UNSHARE_GUEST_PAGE: u32 = 73;
// @ts-ignore: decorator
@inline const HOST_ABORT: u32 = 80;

// @ts-ignore: decorator
@inline const MAX_CPUS: u64 = 512;

/** A call with the words of the argument block. -EDEADLK: this thread is in the guest; -ETIMEDOUT: done, but somebody did not answer. */
export function call(m: Machine, number: u32): i32 {
  if (vcpuInside()) return refuse();
  beginWaiting();
  const result = isNewest(number) && !m.has(PROTECTED_GUESTS) ? NOT_SUPPORTED : dispatch(m, number);
  if (!shared) return result;
  settle(m.hostTable, false);
  settle(m.hypTable, false);
  return isLate() && result >= 0 ? -ETIMEDOUT : result;
}

/** Calls that came with protected guests. */
function isNewest(number: u32): bool {
  return (number >= START_TEARDOWN && number <= FORCE_RECLAIM) || number == GUEST_SHARE_HOST || number == GUEST_UNSHARE_HOST || number == RECLAIM_PAGE ||
    number == DONATE_GUEST_PAGE;
}

function dispatch(m: Machine, number: u32): i32 {
  const a = argument(0);
  const b = argument(1);
  const c = argument(2);
  switch (number) {
    case SHARE_HYP: return hyp.shareHyp(m, a);
    case UNSHARE_HYP: return hyp.unshareHyp(m, a);
    case UNSHARE_GUEST:
    case UNSHARE_GUEST_PAGE:
    case WRPROTECT_GUEST:
    case TEST_CLEAR_YOUNG_GUEST:
    case TLB_FLUSH_VMID: return onShared(m, number, a, b, c);
    case SHARE_GUEST:
    case DONATE_GUEST:
    case SHARE_GUEST_PAGE:
    case DONATE_GUEST_PAGE:
    case RELAX_PERMS_GUEST:
    case MKYOUNG_GUEST:
    case GUEST_SHARE_HOST:
    case GUEST_UNSHARE_HOST: return onLoaded(m, number, a, b, c);
    case PROT_FINALIZE: return finalise(m, a);
    case RESERVE_VM: return reserveVm(m);
    case UNRESERVE_VM: return unreserveVm(m, a);
    case INIT_VM: return initVm(m, a, b, c, argument(3), argument(4), argument(5), 0, 0, false);
    case INIT_VCPU: return initVcpu(m, a, b);
    case VCPU_LOAD: return loadVcpu(m, a, b, false, false);
    case VCPU_PUT: return putVcpu();
    case TEARDOWN_VM: return teardownVm(m, a, false);
    case START_TEARDOWN: return markDying(m, a);
    case RECLAIM_DYING_PAGE:
    case RECLAIM_PAGE: return onProtected(m, a, b, number == RECLAIM_DYING_PAGE);
    case FORCE_RECLAIM: return forceReclaim(m, a);
    case SHARE_FFA: return hyp.shareFfa(m, a, b);
    case UNSHARE_FFA: return hyp.unshareFfa(m, a, b);
    case EARLY_DONATE_HYP: return m.final ? NOT_SUPPORTED : hyp.donateHyp(m, a, b);
    case DONATE_HYP: return hyp.donateHyp(m, a, b);
    case HYP_DONATE_HOST: return hyp.hypDonateHost(m, a, b);
    case PIN: return hyp.pin(m, a, b);
    case UNPIN: return hyp.unpin(m, a, b);
    case HOST_MAP: return mapHost(m, a, b, c);
    case SET_OWNER: return setHostOwner(m, a, b, c);
    case HOST_ABORT: return hostAbort(m, a);
    default: return NOT_SUPPORTED;
  }
}

/** On a VM by handle; but for the hypervisor's own call one whose memory the host shares. */
function onShared(m: Machine, number: u32, handle: u64, gfn: u64, count: u64): i32 {
  let result = holdFor(m, handle, number != UNSHARE_GUEST_PAGE);
  if (result != 0) return number == TLB_FLUSH_VMID ? 0 : result;
  const vm = held;
  if (number == UNSHARE_GUEST || number == UNSHARE_GUEST_PAGE) result = guest.unshareGuest(m, vm, gfn, count);
  else if (number == WRPROTECT_GUEST) result = guest.writeProtectGuest(m, vm, gfn, count);
  else if (number == TEST_CLEAR_YOUNG_GUEST) result = guest.testClearYoungGuest(m, vm, gfn, count, argument(3) != 0);
  else guest.flushGuest(vm);
  settle(vm.pgt, false);
  letGo(vm);
  return result;
}

/** On the vCPU that is loaded here. */
function onLoaded(m: Machine, number: u32, a: u64, b: u64, c: u64): i32 {
  const shares = number == SHARE_GUEST || number == SHARE_GUEST_PAGE;
  const donates = number == DONATE_GUEST || number == DONATE_GUEST_PAGE;
  const vcpu = holdLoaded(m, number >= SHARE_GUEST_PAGE ? EITHER : number == DONATE_GUEST || number >= GUEST_SHARE_HOST ? PROTECTED : SHARING);
  if (!vcpu) return -EINVAL;
  const vm = vcpu.vm;
  let result = shares || donates ? refill(m, vcpu, scratch + S_BATCH) : 0;
  if (result == 0) {
    if (shares) result = guest.shareGuest(m, vcpu, a, b, c, argument(3));
    else if (donates) result = donateGuest(m, vcpu, a, b);
    else if (number == RELAX_PERMS_GUEST) result = guest.relaxGuest(m, vm, a, b);
    else if (number == MKYOUNG_GUEST) result = guest.makeYoungGuest(m, vm, a);
    else result = lendHost(m, vm, a, number == GUEST_SHARE_HOST);
  }
  settle(vm.pgt, false);
  letGo(vm);
  return number == MKYOUNG_GUEST && (result > 0 || result == -EAGAIN) ? 0 : result;
}

/** On a protected VM by handle; `dies`: only while it ends. */
function onProtected(m: Machine, handle: u64, gfn: u64, dies: bool): i32 {
  if (hold(m, handle) != 0) return -EINVAL;
  const vm = held;
  const result = vm.isProtected && (!dies || vm.dying) ? reclaimPage(m, vm, gfn) : -EINVAL;
  settle(vm.pgt, false);
  letGo(vm);
  return result;
}

/** Once for every CPU. From the first one on, what was early is over. */
function finalise(m: Machine, cpu: u64): i32 {
  if (cpu >= MAX_CPUS) return -EINVAL;
  if (acquire(m.word(VM_TABLE_LOCK)) != 0) return -ETIMEDOUT;
  const word = m.word(FINAL_CPUS) + (<usize>cpu >> 3);
  const bit = <u8>1 << <u8>(cpu & 7);
  const isFinal = load<u8>(word) & bit;
  store<u8>(word, load<u8>(word) | bit);
  m.final = 1;
  release(m.word(VM_TABLE_LOCK));
  return isFinal ? -EPERM : 0;
}
