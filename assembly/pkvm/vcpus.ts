/**
 * vCPUs on CPUs: to the hypervisor a thread is a CPU, which has one vCPU loaded at most, and a vCPU is loaded on one CPU at most. All of
 * it under the lock of the VM table; the thread slot says which machine's.
 */
import { EINVAL, ENOENT, ETIMEDOUT } from "../errno";
import { thisThread, thread, threadSlot, T_LOADED, T_MACHINE } from "../layout";
import { admit } from "./hyp";
import { acquire, release } from "./locks";
import { Machine, machineAt, VM_TABLE_LOCK } from "./machine";
import { changeReferences, find, HypVcpu, HypVm, keep, VCPUS, VCPU_BYTES, vcpuAt } from "./vms";

export function indexOf(vcpu: HypVcpu): u32 {
  return <u32>((changetype<usize>(vcpu) - vcpu.vmPointer - VCPUS) / VCPU_BYTES);
}

/** With a page of the host for its struct: index of the new vCPU, -errno. */
export function initVcpu(m: Machine, handle: u64, pfn: u64): i32 {
  const word = m.word(VM_TABLE_LOCK);
  if (acquire(word) != 0) return -ETIMEDOUT;
  const vm = find(m, handle);
  const result = vm ? addVcpu(m, vm, pfn) : -ENOENT;
  release(word);
  return result;
}

function addVcpu(m: Machine, vm: HypVm, pfn: u64): i32 {
  const index = vm.made;
  if (index == vm.created || vm.dying) return -EINVAL;
  const result = admit(m, vm.list, pfn, 1);
  if (result != 0) return result;
  atomic.add<u32>(changetype<usize>(vm), 1, offsetof<HypVm>("pages"));
  vcpuAt(vm, index).vmPointer = changetype<usize>(vm);
  vm.made = index + 1;
  return <i32>index;
}

/**
 * `borrowed`: the host's MMU code has loaded it for a call, and may put it from another CPU. `moves`: it takes the place of one that was
 * borrowed on another CPU, which is not in the middle of a call that needs it.
 */
export function loadVcpu(m: Machine, handle: u64, index: u64, borrowed: bool, moves: bool): i32 {
  const here = <usize>atomic.load<u32>(thread, T_LOADED);
  if (here) {
    if (borrowed || !changetype<HypVcpu>(here).borrowed) return -EINVAL;
    putVcpu(); // that was not the caller's
  }
  const word = m.word(VM_TABLE_LOCK);
  if (acquire(word) != 0) return -ETIMEDOUT;
  const vm = find(m, handle);
  let result = -EINVAL;
  if (vm && index < vm.made && !vm.dying && isFree(vcpuAt(vm, <u32>index), moves)) {
    const vcpu = vcpuAt(vm, <u32>index);
    vcpu.loaded = thisThread() + 1;
    vcpu.borrowed = borrowed;
    changeReferences(vm, 1);
    store<u32>(thread, <u32>changetype<usize>(m), T_MACHINE);
    atomic.store<u32>(thread, <u32>changetype<usize>(vcpu), T_LOADED);
    result = 0;
  }
  release(word);
  return result;
}

function isFree(vcpu: HypVcpu, moves: bool): bool {
  if (vcpu.loaded && moves && vcpu.borrowed) unload(vcpu);
  return !vcpu.loaded;
}

/** -EINVAL: none is loaded. */
export function putVcpu(): i32 { return putOf(thread); }

/** The same of another thread, which has ended. */
export function putOf(slot: usize): i32 {
  if (!atomic.load<u32>(slot, T_LOADED)) return -EINVAL;
  const word = machineAt(load<u32>(slot, T_MACHINE)).word(VM_TABLE_LOCK);
  if (acquire(word) != 0) return -ETIMEDOUT;
  const vcpu = atomic.load<u32>(slot, T_LOADED);
  if (vcpu) unload(changetype<HypVcpu>(vcpu)); // else the host's MMU code has put it meanwhile
  release(word);
  return 0;
}

/** With the lock of the table. */
function unload(vcpu: HypVcpu): void {
  atomic.store<u32>(threadSlot(vcpu.loaded - 1), 0, T_LOADED);
  vcpu.loaded = 0;
  changeReferences(vcpu.vm, -1);
}

/** Puts what the host's MMU code has loaded of a VM, on whatever CPU: none of them is in the middle of a call. */
export function putBorrowed(m: Machine, handle: u64): void {
  const word = m.word(VM_TABLE_LOCK);
  if (acquire(word) != 0) return;
  const vm = find(m, handle);
  if (vm) {
    for (let index: u32 = 0; index < vm.made; index++) {
      const vcpu = vcpuAt(vm, index);
      if (vcpu.loaded && vcpu.borrowed) unload(vcpu);
    }
  }
  release(word);
}

// Kinds of guests that a call is for.
// @ts-ignore: decorator
@inline export const SHARING: u32 = 0;
// @ts-ignore: decorator
@inline export const PROTECTED: u32 = 1;
// @ts-ignore: decorator
@inline export const EITHER: u32 = 2;

/** The vCPU that is loaded here, if it is of a VM of this machine and of this kind; with a reference, which `letGo` drops. */
export function holdLoaded(m: Machine, kind: u32): HypVcpu | null {
  if (!atomic.load<u32>(thread, T_LOADED) || load<u32>(thread, T_MACHINE) != <u32>changetype<usize>(m)) return null;
  const word = m.word(VM_TABLE_LOCK);
  if (acquire(word) != 0) return null;
  let vcpu = changetype<HypVcpu | null>(<usize>atomic.load<u32>(thread, T_LOADED));
  if (vcpu && kind != EITHER && <u32>vcpu.vm.isProtected != kind) vcpu = null;
  if (vcpu) keep(vcpu.vm);
  release(word);
  return vcpu;
}
