/**
 * What the host keeps of a guest whose page table is the hypervisor's (struct kvm_pgtable.pkvm): a private page. The page table itself
 * is the object that everybody names; this hangs on it.
 *
 *   +0      fields
 *   +64     lock of the mappings (lock.ts), in the generation that has one
 *   +128    the mappings: which frames the guest has at which gfn
 */
import { EINVAL } from "../../errno";
import { thisThread, thread, T_LOADED } from "../../layout";
import { Pgt } from "../../pgt";
import { Machine, machineAt } from "../machine";
import { Tree, treeAt } from "../mappings/tree";
import { loadVcpu, putVcpu } from "../vcpus";
import { HypVcpu, HypVm, vcpuAt, vmAt } from "../vms";

// @ts-ignore: decorator
@inline const LOCK: usize = 64;
// @ts-ignore: decorator
@inline const MAPPINGS: usize = 128;

@unmanaged
@final
export class El1 {
  machinePointer: usize;
  /** The hypervisor's VM. It ends when this does, as this holds a reference. */
  vmPointer: usize;
  /** Its handle; 0: it is gone, and no helper does anything. */
  handle: u32;
  /** Memcache for who brings none. */
  memcache: usize;
  /** Things that must not be, or that nobody may ask for: kernel warnings. */
  warnings: u32;
  /** EPERM of share_guest that was told as EAGAIN: all, how often in a row on one gfn at most, and now; more than `limit` (0: any) are told as they are. */
  retries: u32;
  longest: u32;
  inRow: u32;
  limit: u32;
  rowGfn: u64;

  // @ts-ignore: decorator
  @inline get machine(): Machine { return machineAt(this.machinePointer); }
  // @ts-ignore: decorator
  @inline get vm(): HypVm { return vmAt(this.vmPointer); }
  // @ts-ignore: decorator
  @inline get lock(): usize { return changetype<usize>(this) + LOCK; }
  // @ts-ignore: decorator
  @inline get mappings(): Tree { return treeAt(changetype<usize>(this) + MAPPINGS); }

  warn(): void { atomic.add<u32>(changetype<usize>(this), 1, offsetof<El1>("warnings")); }
}

// @ts-ignore: decorator
@inline export function el1Of(pgt: Pgt): El1 { return changetype<El1>(pgt.el1); }

/** In place of a vCPU's number: the one that this thread uses. No two threads have the same, if there are enough. */
// @ts-ignore: decorator
@inline export const OF_THREAD: u32 = u32.MAX_VALUE;

function ofThread(e: El1): u32 {
  const number = thisThread();
  const vcpus = e.vm.made;
  return number < vcpus ? number : vcpus ? number % vcpus : 0;
}

/**
 * The vCPU of this number on this CPU, in place of what the host's MMU code had there. One that was loaded by hand stays: -EINVAL, if it
 * is of another VM. `maps`: no other call that needs the vCPU runs, so it may come from another CPU.
 */
export function loadFor(e: El1, index: u32, maps: bool): i32 {
  if (index == OF_THREAD) index = ofThread(e);
  const loaded = atomic.load<u32>(thread, T_LOADED);
  if (loaded == <u32>changetype<usize>(vcpuAt(e.vm, index))) return 0;
  return loadOther(e, index, loaded, maps);
}

function loadOther(e: El1, index: u32, loaded: u32, maps: bool): i32 {
  if (loaded && !changetype<HypVcpu>(<usize>loaded).borrowed) return changetype<HypVcpu>(<usize>loaded).vmPointer == e.vmPointer ? 0 : -EINVAL;
  putVcpu();
  return loadVcpu(e.machine, e.handle, index, true, maps) == 0 ? 0 : -EINVAL;
}

/** The vCPU that `loadFor` has loaded. */
// @ts-ignore: decorator
@inline export function loadedHere(): HypVcpu { return changetype<HypVcpu>(<usize>load<u32>(thread, T_LOADED)); }
