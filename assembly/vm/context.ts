/**
 * A vCPU of a VM (struct kvm_vcpu, as far as the MMU knows it): a private page of the pool. It belongs to the thread that made it; rings
 * are reset by others.
 *
 *   +0      fields, and the abort that is being handled
 *   +192    counters
 *   +384    dirty ring: entries pushed                                   (a line each)
 *   +448    entries reset
 *   +512    the abort that waits for its page (pending.ts)
 */
import * as cache from "../cache";
import { EEXIST, EINVAL, EMFILE, ENOMEM } from "../errno";
import { header, H_OBJECTS, thisThread, UNIT_SHIFT } from "../layout";
import { CONTEXT, releaseSlot, takeSlot } from "../pgt";
import * as pool from "../pool";
import { freePrivate, privatePages, STATE_PAGE, unitsFor } from "../private";
import { CONTEXTS, MAX_CONTEXTS, Vm, vmAt } from "./vm";

/** KVM_ARCH_NR_OBJS_PER_MEMORY_CACHE. */
// @ts-ignore: decorator
@inline export const CACHE_CAPACITY: u32 = 40;
// @ts-ignore: decorator
@inline const COUNTERS: usize = 192;
// @ts-ignore: decorator
@inline export const PUSHED: usize = 384;
// @ts-ignore: decorator
@inline export const RESET: usize = 448;
// @ts-ignore: decorator
@inline export const PENDING: usize = 512;

// Counters.
// @ts-ignore: decorator
@inline export const ABORTS: u32 = 0;
// @ts-ignore: decorator
@inline export const MAPS: u32 = 1;
// @ts-ignore: decorator
@inline export const RELAXES: u32 = 2;
// @ts-ignore: decorator
@inline export const YOUNGS: u32 = 3;
// @ts-ignore: decorator
@inline export const AGAIN: u32 = 4;
// @ts-ignore: decorator
@inline export const RETRIES: u32 = 5;
// @ts-ignore: decorator
@inline export const MMIO: u32 = 6;
// @ts-ignore: decorator
@inline export const INJECTED: u32 = 7;
// @ts-ignore: decorator
@inline export const BLOCKS: u32 = 8;
// @ts-ignore: decorator
@inline export const DIRTIED: u32 = 9;
// @ts-ignore: decorator
@inline export const HARVESTED: u32 = 10;
// @ts-ignore: decorator
@inline export const TOPUPS: u32 = 11;
// @ts-ignore: decorator
@inline export const LOADS: u32 = 12;
// @ts-ignore: decorator
@inline export const ACCESS_FLAG_FAULTS: u32 = 13;
// @ts-ignore: decorator
@inline export const PERMISSION_FAULTS: u32 = 14;
// @ts-ignore: decorator
@inline export const TRANSLATION_FAULTS: u32 = 15;

@unmanaged
@final
export class Context {
  vmPointer: usize;
  slot: usize;
  id: u32;
  thread: u32;
  /** Memory cache: table pages for its faults. */
  cache: usize;
  /** Dirty ring, 0 without; entries. */
  ring: usize;
  entries: u32;
  /** Entries that found no room, and no bitmap either. */
  overflowed: u32;
  /** State page of the CPU that it is loaded on; 0 none. */
  cpu: usize;
  /** An abort waits for its page. */
  busy: u32;
  /** HDBSS buffer and its pages. */
  buffer: usize;
  bufferUnits: u32;
  /** VMID that it was loaded with last. */
  vmid: u64;
  /** Under pKVM: pages for the hypervisor (mmu.ts); 0 none yet. */
  memcache: usize;
  /** Its vCPU of the hypervisor's: index + 1; 0 none yet. */
  hypVcpu: u32;

  // @ts-ignore: decorator
  @inline get vm(): Vm { return vmAt(this.vmPointer); }
  // @ts-ignore: decorator
  @inline word(offset: usize): usize { return changetype<usize>(this) + offset; }
  // @ts-ignore: decorator
  @inline get cachedPages(): u32 { return cache.countOf(this.cache); }
}

// @ts-ignore: decorator
@inline export function contextAt(pointer: usize): Context { return changetype<Context>(pointer); }
// @ts-ignore: decorator
@inline export function countersOf(c: Context): usize { return c.word(COUNTERS); }

// @ts-ignore: decorator
@inline export function count(c: Context, counter: u32): void {
  const at = c.word(COUNTERS) + (<usize>counter << 3);
  store<u64>(at, load<u64>(at) + 1);
}

/** The context of this id, or 0. */
export function contextOf(vm: Vm, id: u32): usize { return <usize>atomic.load<u32>(vm.word(CONTEXTS) + (<usize>id << 2)); }

/** Pointer, or -errno. */
export function createContext(vm: Vm, id: u32): i32 {
  if (id >= MAX_CONTEXTS) return -EINVAL;
  if (contextOf(vm, id)) return -EEXIST;
  const slot = takeSlot(CONTEXT);
  if (!slot) return -EMFILE;
  const page = privatePages(1);
  const stock = page ? cache.createLasting(vm.pageShift) : 0;
  const entries = vm.ringEntries;
  const ring = stock && entries ? privatePages(unitsFor(<u64>entries << 4)) : 0;
  if (!stock || (entries && !ring)) {
    if (stock) cache.destroy(stock);
    if (page) freePrivate(page, 1);
    releaseSlot(slot);
    return page && !stock ? -EMFILE : -ENOMEM;
  }
  const c = contextAt(page);
  c.vmPointer = changetype<usize>(vm);
  c.slot = slot;
  c.id = id;
  c.thread = thisThread();
  c.cache = stock;
  c.ring = ring;
  c.entries = entries;
  atomic.store<u32>(slot, <u32>page, STATE_PAGE);
  // Lost: another thread makes the same one.
  if (atomic.cmpxchg<u32>(vm.word(CONTEXTS) + (<usize>id << 2), 0, <u32>page) != 0) {
    freeContext(c);
    return -EEXIST;
  }
  atomic.add<u32>(changetype<usize>(vm), 1, offsetof<Vm>("contexts"));
  return <i32>page;
}

/** Takes it out of its VM; the CPU has been taken from it before. */
export function removeContext(c: Context): void {
  const vm = c.vm;
  atomic.store<u32>(vm.word(CONTEXTS) + (<usize>c.id << 2), 0);
  atomic.sub<u32>(changetype<usize>(vm), 1, offsetof<Vm>("contexts"));
  forgetRuns(vm, c.id);
  freeContext(c);
}

/** In place of a context that ran last on a CPU: one that is gone, whose id another may have by now. */
// @ts-ignore: decorator
@inline const GONE: u16 = 0xffff;

function forgetRuns(vm: Vm, id: u32): void {
  const end = vm.lastRun + (<usize>load<u32>(header, H_OBJECTS) << 1);
  for (let word = vm.lastRun; word < end; word += 2) {
    if (load<u16>(word) == id + 1) store<u16>(word, GONE);
  }
}

function freeContext(c: Context): void {
  const slot = c.slot;
  cache.destroy(c.cache);
  if (c.ring) freePrivate(c.ring, unitsFor(<u64>c.entries << 4));
  if (c.buffer) pool.free(c.buffer, UNIT_SHIFT, c.bufferUnits);
  atomic.store<u32>(slot, 0, STATE_PAGE);
  freePrivate(changetype<usize>(c), 1);
  releaseSlot(slot);
}
