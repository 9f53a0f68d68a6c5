/**
 * A virtual machine (struct kvm, as far as the MMU knows it): two private pages of the pool.
 *
 *   +0      fields
 *   +256    slot set: sequence of its editions                          (a line each, as threads contend)
 *   +320    slots_lock: thread slot + 1 of its owner; who sleeps
 *   +384    active invalidations, or PUBLISHING
 *   +448    invalidate_in_progress, invalidate_seq, recorded range      (written under the write side of the mmu_lock)
 *   +512    the change of a memslot, or the dirty log, that the owner of the slots_lock is at
 *   +2048   memslots: pointers of 512 pages, 64 records each
 *   +4096   vCPU contexts: pointers of up to 512
 *   +6144   under pKVM: id + 1 of the context that has a vCPU of the hypervisor's, by its index
 */
import { EINVAL, EMFILE, ENOMEM } from "../errno";
import { H_OBJECTS, header } from "../layout";
import { numberOf, Pgt, releaseSlot, takeSlot, VM } from "../pgt";
import { freePrivate, privatePages, stateGeneration, STATE_PAGE, unitsFor } from "../private";

// Options, and what caps add.
// @ts-ignore: decorator
@inline export const PROTECTED: u32 = 1;
// @ts-ignore: decorator
@inline export const MTE: u32 = 2;
// @ts-ignore: decorator
@inline export const DIC: u32 = 4;
// @ts-ignore: decorator
@inline export const NISV_EXIT: u32 = 256;
// @ts-ignore: decorator
@inline export const MANUAL_PROTECT: u32 = 512;
// @ts-ignore: decorator
@inline export const INITIALLY_SET: u32 = 1024;
// @ts-ignore: decorator
@inline export const RING: u32 = 2048;
// @ts-ignore: decorator
@inline export const BACKUP_BITMAP: u32 = 4096;
// @ts-ignore: decorator
@inline export const HDBSS: u32 = 8192;
/** A protected guest of pKVM: the host gives its memory away. */
// @ts-ignore: decorator
@inline export const PROTECTED_GUEST: u32 = 16384;
// @ts-ignore: decorator
@inline const AT_CREATION: u32 = PROTECTED | MTE | DIC;

// @ts-ignore: decorator
@inline export const STATE_UNITS: u32 = 2;
// @ts-ignore: decorator
@inline export const SEQUENCE: usize = 256;
// @ts-ignore: decorator
@inline export const SLOTS_LOCK: usize = 320;
// @ts-ignore: decorator
@inline export const ACTIVE: usize = 384;
// @ts-ignore: decorator
@inline export const IN_PROGRESS: usize = 448;
// @ts-ignore: decorator
@inline export const INVALIDATE_SEQ: usize = 456;
// @ts-ignore: decorator
@inline export const RANGE_START: usize = 464;
// @ts-ignore: decorator
@inline export const RANGE_END: usize = 472;
// @ts-ignore: decorator
@inline export const CHANGE: usize = 512;
// @ts-ignore: decorator
@inline export const RECORDS: usize = 2048;
// @ts-ignore: decorator
@inline export const CONTEXTS: usize = 4096;
// @ts-ignore: decorator
@inline export const HYP_VCPUS: usize = 6144;
// @ts-ignore: decorator
@inline export const MAX_CONTEXTS: u32 = 512;

@unmanaged
@final
export class Vm {
  /** Object slot; first (private.ts). */
  slot: usize;
  number: u32;
  options: u32;
  events: u32;
  pageShift: u32;
  hostBits: u32;
  ipaBits: u32;
  /** Table pages that one fault may need. */
  minPages: u32;
  tableWord: u32;
  /** Entries of each vCPU's dirty ring; 0 without rings. */
  ringEntries: u32;
  /** Memory cache for eager splits (a cache object), 0 until it is needed. */
  splitCache: usize;
  /** 1: entries of rings were protected, and TLBs not flushed since (ring_reset.ts). */
  owesFlush: u32;
  /** vCPU contexts that exist. */
  contexts: u32;
  /** Which context each CPU ran last: u16 by number of the CPU, 0 none; and its pages. */
  lastRun: usize;
  lastRunUnits: u32;
  // the slot set
  slots: u32;
  gfnOrder: u32;
  hvaOrder: u32;
  totalPages: u64;
  /** Bytes of an eager split's piece; 0 off. */
  chunk: u64;
  /** Bytes of the largest block: where ranges are cut. */
  block: u64;
  /** VMID: generation | number. */
  vmid: u64;
  /** The hypervisor whose guest it is; 0: it is the host's own. */
  machine: usize;
  /** log2 of the largest leaf that a fault may make. */
  maxShift: u32;
  /** Side of the mmu_lock that a fault takes. */
  faultSide: u32;

  // @ts-ignore: decorator
  @inline has(option: u32): bool { return (this.options & option) != 0; }
  // @ts-ignore: decorator
  @inline logs(kind: u32): bool { return (this.events >> (kind - FIRST_EVENT) & 1) != 0; }
  // @ts-ignore: decorator
  @inline get pageSize(): u64 { return <u64>1 << this.pageShift; }
  /** Page table, 0 before it is made and after teardown. */
  // @ts-ignore: decorator
  @inline get pgt(): usize { return atomic.load<u32>(changetype<usize>(this), offsetof<Vm>("tableWord")); }
  // @ts-ignore: decorator
  @inline set pgt(pointer: usize) { atomic.store<u32>(changetype<usize>(this), <u32>pointer, offsetof<Vm>("tableWord")); }
  // @ts-ignore: decorator
  @inline word(offset: usize): usize { return changetype<usize>(this) + offset; }
}

// @ts-ignore: decorator
@inline const FIRST_EVENT: u32 = 80;

// @ts-ignore: decorator
@inline export function vmAt(pointer: usize): Vm { return changetype<Vm>(pointer); }
// @ts-ignore: decorator
@inline export function tableOf(vm: Vm): Pgt { return changetype<Pgt>(vm.pgt); }

/** A VM without a page table. Pointer, or -errno. */
export function createVm(pageShift: u32, hostBits: u32, options: u32): i32 {
  if ((pageShift != 12 && pageShift != 14 && pageShift != 16) || hostBits < 32 || hostBits > 52 || options & ~AT_CREATION) return -EINVAL;
  const slot = takeSlot(VM);
  if (!slot) return -EMFILE;
  const page = privatePages(STATE_UNITS);
  if (!page) {
    releaseSlot(slot);
    return -ENOMEM;
  }
  const vm = vmAt(page);
  vm.slot = slot;
  vm.number = numberOf(slot);
  vm.pageShift = pageShift;
  vm.hostBits = hostBits;
  vm.options = options;
  vm.lastRunUnits = unitsFor(<u64>load<u32>(header, H_OBJECTS) << 1);
  vm.lastRun = privatePages(vm.lastRunUnits);
  if (!vm.lastRun) {
    freePrivate(page, STATE_UNITS);
    releaseSlot(slot);
    return -ENOMEM;
  }
  atomic.store<u32>(slot, <u32>page, STATE_PAGE);
  return <i32>page;
}

/** Gives the object back; everything behind it is freed already. */
export function freeVm(vm: Vm): void {
  const slot = vm.slot;
  freePrivate(vm.lastRun, vm.lastRunUnits);
  atomic.store<u32>(slot, 0, STATE_PAGE);
  freePrivate(changetype<usize>(vm), STATE_UNITS);
  releaseSlot(slot);
}

/** Tells the VM whose state is at this pointer from others that were there; 0: there is none. */
export function generationAt(page: usize): u32 { return stateGeneration(page, VM); }

/** End of the piece of a range that begins at `ipa`: pieces are cut at multiples of `unit`. */
// @ts-ignore: decorator
@inline export function pieceEnd(ipa: u64, unit: u64, end: u64): u64 { return min((ipa + unit) & ~(unit - 1), end); }
