/**
 * kvm_handle_guest_abort: what an abort from the guest means, up to where somebody has to say which page is there. That is asked with
 * nothing locked; user_abort.ts goes on with the answer.
 */
import { outputAddress } from "../descriptor";
import { EBUSY, EFAULT, EINVAL, ENOSYS } from "../errno";
import { setResult } from "../layout";
import * as operate from "../operate";
import { READ_SIDE, refuse, vcpuInside } from "../operation";
import { Pgt } from "../pgt";
import { isLogging } from "./bitmap";
import {
  ABORTS, ACCESS_FLAG_FAULTS, Context, count, INJECTED, MMIO as MMIO_COUNT, PERMISSION_FAULTS, TOPUPS, TRANSLATION_FAULTS, YOUNGS,
} from "./context";
import { harvest } from "./hdbss";
import { ADDRESS_SIZE_0, DABT_LOW, EXTERNAL, IABT_LOW, injectAbort } from "./inject";
import { locked, lockTable, NO_TABLE, unlockTable } from "./locks";
import * as mmu from "./mmu";
import { sequenceOf } from "./notifier";
import { EXEC, Pending, pendingOf, PERMISSION, WRITE } from "./pending";
import { base, edition, findSlot, flags, hva, id, READONLY, state, VALID_SLOT } from "./slots";
import * as trace from "./trace";
import { NISV_EXIT, PROTECTED_GUEST, Vm } from "./vm";

// What an abort comes to.
// @ts-ignore: decorator
@inline export const RESUME: i32 = 1;
// @ts-ignore: decorator
@inline export const INJECT: i32 = 2;
// @ts-ignore: decorator
@inline export const SKIP: i32 = 3;
// @ts-ignore: decorator
@inline export const SERROR: i32 = 4;
// @ts-ignore: decorator
@inline export const MMIO: i32 = 5;
// @ts-ignore: decorator
@inline export const NISV: i32 = 6;
// @ts-ignore: decorator
@inline export const RESOLVE: i32 = 7;
// @ts-ignore: decorator
@inline export const POISONED: i32 = 8;

// What the caller says of the vCPU.
// @ts-ignore: decorator
@inline const FROM_EL0: u32 = 1;
// @ts-ignore: decorator
@inline const PROTECTED_VCPU: u32 = 2;

// Library calls.
// @ts-ignore: decorator
@inline export const NO_CALL: u64 = 0;
// @ts-ignore: decorator
@inline const MKYOUNG: u64 = 3;

// ESR_EL2 of a data or instruction abort.
// @ts-ignore: decorator
@inline const S1PTW: u64 = 1 << 7;
// @ts-ignore: decorator
@inline const WNR: u64 = 1 << 6;
// @ts-ignore: decorator
@inline const CM: u64 = 1 << 8;
// @ts-ignore: decorator
@inline const ISV: u64 = 1 << 24;
// @ts-ignore: decorator
@inline const HDBSSF: u64 = <u64>1 << 43;
/** What user space gets to know of an abort without a syndrome: CM, WnR, FSC. */
// @ts-ignore: decorator
@inline const NISV_BITS: u64 = CM | WNR | 0x3f;
// @ts-ignore: decorator
@inline const TRANSLATION_MINUS_1: u32 = 0x2b;

// @ts-ignore: decorator
@inline function isTranslation(fsc: u32): bool { return (fsc & 0x3c) == 0x04 || fsc == TRANSLATION_MINUS_1; }
// @ts-ignore: decorator
@inline function isAccessFlag(fsc: u32): bool { return (fsc & 0x3c) == 0x08; }
// @ts-ignore: decorator
@inline function isPermission(fsc: u32): bool { return (fsc & 0x3c) == 0x0c; }
/** Synchronous external aborts and ECC errors, on the access or on a walk. */
// @ts-ignore: decorator
@inline function isExternal(fsc: u32): bool { return fsc == 0x10 || (fsc >= 0x13 && fsc <= 0x18) || (fsc >= 0x1b && fsc <= 0x1f); }

/** What it comes to, or -errno; the rest in the results. After RESOLVE the context is busy until the abort is finished or cancelled. */
export function beginAbort(c: Context, esr: u64, far: u64, hpfar: u64, callerFlags: u32): i32 {
  if (c.busy) return -EBUSY;
  if (vcpuInside()) return refuse();
  const ec = <u32>(esr >> 26) & 0x3f;
  if (ec != IABT_LOW && ec != DABT_LOW) return -EINVAL;
  count(c, ABORTS);
  const result = decide(c, esr, far, hpfar << 8 & IPA, ec == IABT_LOW, callerFlags);
  if (c.vm.logs(trace.FAULT) && result != RESOLVE) trace.log(c.vm, trace.FAULT, <i32>(esr & 3), c.id, hpfar << 8 & IPA, esr, <u64><i64>result);
  return result;
}

/** FIPA, HPFAR_EL2[47:4], as an address. */
// @ts-ignore: decorator
@inline const IPA: u64 = 0x00ff_ffff_ffff_f000;

function decide(c: Context, esr: u64, far: u64, ipa: u64, isFetch: bool, callerFlags: u32): i32 {
  const vm = c.vm;
  const fsc = <u32>esr & 0x3f;
  const onWalk = (esr & S1PTW) != 0;
  const fromEl0 = (callerFlags & FROM_EL0) != 0;
  const address = ipa | (far & 0xfff);
  if (isTranslation(fsc) && ipa >> vm.ipaBits) {
    const beyondHost = ipa >> vm.hostBits != 0;
    return inject(c, esr, beyondHost ? ADDRESS_SIZE_0 : EXTERNAL, address, isFetch, fromEl0);
  }
  if (isExternal(fsc)) return SERROR;
  if (!isTranslation(fsc) && !isPermission(fsc) && !isAccessFlag(fsc)) return -EFAULT;
  if (esr & HDBSSF && isPermission(fsc)) { // no page at fault: the buffer has no room
    harvest(c);
    setResult(0, NO_CALL);
    return RESUME;
  }
  const writes = onWalk ? isPermission(fsc) : !isFetch && (esr & WNR) != 0;
  const found = findSlot(vm, ipa >> vm.pageShift);
  if (found < 0) return found;
  const isSlot = found != 0 && state == VALID_SLOT;
  if (!isSlot || (writes && flags & READONLY)) return outside(c, esr, far, address, isSlot, isFetch, callerFlags);
  if (isAccessFlag(fsc)) return makeYoung(c, ipa);
  count(c, isPermission(fsc) ? PERMISSION_FAULTS : TRANSLATION_FAULTS);
  const kind = (writes ? WRITE : 0) | (isFetch && !onWalk ? EXEC : 0) | (isPermission(fsc) ? PERMISSION : 0);
  return ask(c, esr, far, ipa, kind, fromEl0);
}

function inject(c: Context, esr: u64, fsc: u32, far: u64, isFetch: bool, fromEl0: bool): i32 {
  count(c, INJECTED);
  injectAbort(esr, fsc, far, isFetch, fromEl0);
  return INJECT;
}

/** No slot, or a write to one that is read-only. */
function outside(c: Context, esr: u64, far: u64, address: u64, isSlot: bool, isFetch: bool, callerFlags: u32): i32 {
  const fromEl0 = (callerFlags & FROM_EL0) != 0;
  if (isFetch || esr & S1PTW) return inject(c, esr, EXTERNAL, far, isFetch, fromEl0);
  if (!isSlot && esr & CM) return SKIP;
  count(c, MMIO_COUNT);
  if (!(esr & ISV)) {
    if (callerFlags & PROTECTED_VCPU) return inject(c, esr, EXTERNAL, far, false, fromEl0);
    if (!c.vm.has(NISV_EXIT)) return -ENOSYS;
    setResult(0, esr & NISV_BITS);
    setResult(1, address);
    return NISV;
  }
  setResult(0, address);
  setResult(1, <u64>1 << (esr >> 22 & 3));
  setResult(2, <u64>((esr & WNR) != 0));
  setResult(3, esr >> 16 & 31);
  setResult(4, esr >> 21 & 1);
  setResult(5, esr >> 15 & 1);
  return MMIO;
}

/** Under the read side; the entry may be gone meanwhile, then the guest faults anew. */
function makeYoung(c: Context, ipa: u64): i32 {
  const vm = c.vm;
  count(c, ACCESS_FLAG_FAULTS);
  setResult(2, 0);
  const result = lockTable(vm, READ_SIDE);
  if (result == NO_TABLE) return RESUME;
  if (result != 0) return result;
  const pgt = changetype<Pgt>(locked);
  const status = mmu.makeYoung(c, pgt, ipa);
  const old = operate.youngBefore();
  unlockTable(READ_SIDE);
  count(c, YOUNGS);
  const there = status == 1 && (old & 1) != 0;
  trace.log(vm, trace.MKYOUNG, status < 0 ? -status : 0, c.id, ipa, 0, old);
  setResult(0, MKYOUNG);
  setResult(1, ipa);
  setResult(2, <u64>there);
  setResult(3, there ? outputAddress(old, pgt.pageShift, pgt.lpa2) : 0);
  return RESUME;
}

/** Notes what was decided, and on which slot; then somebody has to say what is at the host's address. */
function ask(c: Context, esr: u64, far: u64, ipa: u64, kind: u32, fromEl0: bool): i32 {
  if (kind == PERMISSION) return -EFAULT; // a stage-2 leaf can always be read
  const vm = c.vm;
  const p = pendingOf(c);
  p.esr = esr;
  p.far = far;
  p.ipa = ipa;
  p.kind = vm.has(PROTECTED_GUEST) ? kind | WRITE : kind; // what is given away is the guest's to write
  p.fromEl0 = fromEl0;
  p.slot = id;
  p.edition = edition;
  p.slotFlags = flags;
  p.base = base;
  p.slotHva = hva;
  const refused = topUp(vm, c, p);
  if (refused != 0) return refused;
  p.sequence = sequenceOf(vm);
  c.busy = 1;
  const gfn = ipa >> vm.pageShift;
  setResult(0, p.slotHva + (gfn - p.base << vm.pageShift));
  setResult(1, p.kind);
  setResult(2, gfn);
  setResult(3, p.slot);
  setResult(4, p.slotFlags);
  setResult(5, ipa);
  setResult(6, <u64>isLogging(p.slotFlags));
  return RESOLVE;
}

/** For whatever may need a table: also a fetch that breaks a block while the slot logs, where KVM relies on what the cache has left. */
function topUp(vm: Vm, c: Context, p: Pending): i32 {
  if (p.kind & PERMISSION && !isLogging(p.slotFlags) && !vm.machine) return 0;
  const before = c.cachedPages;
  const status = mmu.topUp(c);
  if (c.cachedPages != before) count(c, TOPUPS);
  return status;
}
