/**
 * Memcaches (struct kvm_hyp_memcache): pages that the host has set aside for the hypervisor, so that a mapping does not fail half way.
 *
 *   the host's: a list in its own memory      the vCPU's: pages that the hypervisor has admitted
 *   +64  u64 count, then u64 page frames      a count; the pages are on the VM's list
 *
 * The host may write its list at any time, so each word of it is read once.
 */
import { ENOMEM } from "../errno";
import { freePrivate, privatePages } from "../private";
import { admit } from "./hyp";
import { returnHostPage, takeHostPages } from "./host_pages";
import { acquire, release } from "./locks";
import { LIST_LOCK, Machine, machineAt } from "./machine";
import { HypVcpu, HypVm } from "./vms";

/** Pages of a list that the hypervisor looks at in one call. */
// @ts-ignore: decorator
@inline const MOST: u64 = 64;
/** Pages that a memcache of the host holds. */
// @ts-ignore: decorator
@inline export const CAPACITY: u32 = 14;
// @ts-ignore: decorator
@inline const LIST: usize = 64;

@unmanaged
@final
export class Memcache {
  machine: usize;
  /** Neighbours in the machine's list of them. */
  next: usize;
  previous: usize;
  /** Room for one mapping was set aside too (struct kvm_hyp_memcache.mapping). */
  room: bool;

  // @ts-ignore: decorator
  @inline get list(): usize { return changetype<usize>(this) + LIST; }
  // @ts-ignore: decorator
  @inline get count(): u32 { return <u32>load<u64>(this.list); }
}

// @ts-ignore: decorator
@inline export function memcacheAt(pointer: usize): Memcache { return changetype<Memcache>(pointer); }

/** Pointer, or 0. */
export function createMemcache(m: Machine): usize {
  const page = privatePages(1);
  if (!page) return 0;
  if (acquire(m.word(LIST_LOCK)) != 0) {
    freePrivate(page, 1);
    return 0;
  }
  const cache = memcacheAt(page);
  cache.machine = changetype<usize>(m);
  cache.next = m.memcaches;
  if (cache.next) memcacheAt(cache.next).previous = page;
  m.memcaches = page;
  release(m.word(LIST_LOCK));
  return page;
}

/** Its pages are the host's to use again. */
export function destroyMemcache(cache: Memcache): void {
  const m = machineAt(cache.machine);
  while (cache.count) returnHostPage(m, pop(cache.list));
  const locked = acquire(m.word(LIST_LOCK));
  if (cache.next) memcacheAt(cache.next).previous = cache.previous;
  if (cache.previous) memcacheAt(cache.previous).next = cache.next;
  else m.memcaches = cache.next;
  if (locked == 0) release(m.word(LIST_LOCK));
  freePrivate(changetype<usize>(cache), 1);
}

export function freeMemcaches(m: Machine): void {
  while (m.memcaches) destroyMemcache(memcacheAt(m.memcaches));
}

/** topup_hyp_memcache: at least `pages` pages, and room for a mapping. */
export function topUpMemcache(cache: Memcache, pages: u32): i32 {
  cache.room = true;
  while (cache.count < pages) {
    const pfn = takeHostPages(machineAt(cache.machine), 1);
    if (pfn < 0) return -ENOMEM;
    const count = cache.count + 1;
    store<u64>(cache.list + (<usize>count << 3), pfn);
    store<u64>(cache.list, count);
  }
  return 0;
}

function pop(list: usize): u64 {
  const count = load<u64>(list);
  store<u64>(list, count - 1);
  return load<u64>(list + (<usize>count << 3));
}

/** The vCPU's memcache gets as many pages as the host's list had: 0, or -ENOMEM, with what came before a page that could not be had. */
export function refill(m: Machine, vcpu: HypVcpu, list: usize): i32 {
  let left = load<u64>(list);
  if (left > MOST) return -ENOMEM;
  for (const wanted = left; left && vcpu.pages < wanted; left--) {
    const pfn = load<u64>(list + (<usize>left << 3));
    if (admit(m, vcpu.vm.list, pfn, 1) != 0) return -ENOMEM;
    store<u64>(list, left - 1);
    vcpu.pages++;
    atomic.add<u32>(changetype<usize>(vcpu.vm), 1, offsetof<HypVm>("pages"));
    atomic.add<u32>(changetype<usize>(vcpu.vm), 1, offsetof<HypVm>("cached"));
  }
  return 0;
}
