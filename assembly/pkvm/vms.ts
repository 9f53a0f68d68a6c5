/**
 * The VMs of the hypervisor: a table of handles, and for each VM private pages of the pool.
 *
 *   +0      fields
 *   +128    the guest's lock                      (a line of its own)
 *   +4096   vCPUs, 32 bytes each
 *
 * A word of the table: 0 free, 1 reserved, else the VM. Who finds a VM by its handle counts as a reference until it is done, and so does
 * a vCPU that is loaded: a VM with references does not end.
 */
import { EBUSY, EINVAL, ENOENT, ENOMEM, ETIMEDOUT } from "../errno";
import { thread, T_HELD } from "../layout";
import { Pgt } from "../pgt";
import { acquire, release } from "./locks";
import { Machine, machineAt, MAX_VMS, VM_TABLE, VM_TABLE_LOCK } from "./machine";

// @ts-ignore: decorator
@inline export const HANDLE_OFFSET: u64 = 0x1000;
// @ts-ignore: decorator
@inline export const FREE: u32 = 0;
// @ts-ignore: decorator
@inline export const RESERVED: u32 = 1;
// @ts-ignore: decorator
@inline export const MAX_VCPUS: u32 = 512;
// @ts-ignore: decorator
@inline export const VCPUS: usize = 4096;
// @ts-ignore: decorator
@inline export const VCPU_BYTES: usize = 32;
// @ts-ignore: decorator
@inline const GUEST_LOCK: usize = 128;

@unmanaged
@final
export class HypVm {
  machinePointer: usize;
  index: u32;
  units: u32;
  isProtected: bool;
  dying: bool;
  /** vCPUs that the host has, and those that were made here. */
  created: u32;
  made: u32;
  references: u32;
  /** Stage 2 of the guest. */
  table: usize;
  /** Pages for its tables, while a change is under way. */
  cache: usize;
  /** First of the pages that the host gave for it, and their number. */
  admitted: u32;
  pages: u32;
  /** Of these: in vCPUs' memcaches; neither there nor a table now. */
  cached: u32;
  spare: u32;
  /** The host's struct kvm, pinned. */
  kvmPfn: u64;

  // @ts-ignore: decorator
  @inline get machine(): Machine { return machineAt(this.machinePointer); }
  // @ts-ignore: decorator
  @inline get pgt(): Pgt { return changetype<Pgt>(this.table); }
  // @ts-ignore: decorator
  @inline get lock(): usize { return changetype<usize>(this) + GUEST_LOCK; }
  // @ts-ignore: decorator
  @inline get list(): usize { return changetype<usize>(this) + offsetof<HypVm>("admitted"); }
  // @ts-ignore: decorator
  @inline get handle(): u64 { return HANDLE_OFFSET + this.index; }
}

@unmanaged
@final
export class HypVcpu {
  vmPointer: usize;
  /** Thread slot + 1 of the CPU that it is loaded on. */
  loaded: u32;
  /** The host's MMU code has loaded it, and puts it when it likes (el1/object.ts). */
  borrowed: bool;
  /** Pages in its memcache. */
  pages: u32;

  // @ts-ignore: decorator
  @inline get vm(): HypVm { return changetype<HypVm>(this.vmPointer); }
}

// @ts-ignore: decorator
@inline export function vmAt(pointer: usize): HypVm { return changetype<HypVm>(pointer); }

// @ts-ignore: decorator
@inline export function vcpuAt(vm: HypVm, index: u32): HypVcpu {
  return changetype<HypVcpu>(changetype<usize>(vm) + VCPUS + <usize>index * VCPU_BYTES);
}

// @ts-ignore: decorator
@inline export function entryOf(m: Machine, index: u32): usize { return m.word(VM_TABLE) + (<usize>index << 2); }

/** The VM of a handle, with the lock of the table; null: none, or only reserved. */
export function find(m: Machine, handle: u64): HypVm | null {
  const index = handle - HANDLE_OFFSET;
  const word = index < MAX_VMS ? load<u32>(entryOf(m, <u32>index)) : FREE;
  return word > RESERVED ? vmAt(word) : null;
}

/** The VM that the last `hold` found. */
export let held: HypVm = changetype<HypVm>(0);

/** 0 and a reference of the VM, which `letGo` drops; -ENOENT; -ETIMEDOUT. */
export function hold(m: Machine, handle: u64): i32 {
  if (acquire(m.word(VM_TABLE_LOCK)) != 0) return -ETIMEDOUT;
  const vm = find(m, handle);
  if (vm) keep(vm);
  release(m.word(VM_TABLE_LOCK));
  if (!vm) return -ENOENT;
  held = vm;
  return 0;
}

/** The same for a call on a guest; `shares`: one whose memory the host shares. -EINVAL if it is none. */
export function holdFor(m: Machine, handle: u64, shares: bool): i32 {
  const result = hold(m, handle);
  if (result != 0) return result == -ENOENT ? -EINVAL : result;
  if (!shares || !held.isProtected) return 0;
  letGo(held);
  return -EINVAL;
}

/** With the lock of the table when the count rises: a VM without references may be taken out of it. How many there are then. */
export function changeReferences(vm: HypVm, by: i32): i32 {
  return <i32>atomic.add<u32>(changetype<usize>(vm), by, offsetof<HypVm>("references")) + by;
}

/** For a call of this thread, which has no other: a reference that can be found should the thread end in the middle. */
export function keep(vm: HypVm): void {
  changeReferences(vm, 1);
  store<u32>(thread, <u32>changetype<usize>(vm), T_HELD);
}

export function letGo(vm: HypVm): void {
  store<u32>(thread, 0, T_HELD);
  changeReferences(vm, -1);
}

/** What a thread that has ended referred to. */
export function letGoOf(slot: usize): void {
  const vm = <usize>load<u32>(slot, T_HELD);
  store<u32>(slot, 0, T_HELD);
  if (vm) changeReferences(vmAt(vm), -1);
}

/** References of a VM, with the lock of the table. */
// @ts-ignore: decorator
@inline function referencesOf(vm: HypVm): u32 { return atomic.load<u32>(changetype<usize>(vm), offsetof<HypVm>("references")); }

// ---- handles -------------------------------------------------------------------------------------------------------------

/** Index of a free entry, which is reserved now; with the lock. -ENOMEM. */
export function takeEntry(m: Machine): i32 {
  for (let index: u32 = 0; index < MAX_VMS; index++) {
    if (load<u32>(entryOf(m, index)) != FREE) continue;
    store<u32>(entryOf(m, index), RESERVED);
    return <i32>index;
  }
  return -ENOMEM;
}

export function reserveVm(m: Machine): i32 {
  if (acquire(m.word(VM_TABLE_LOCK)) != 0) return -ETIMEDOUT;
  const index = takeEntry(m);
  release(m.word(VM_TABLE_LOCK));
  return index < 0 ? index : <i32>HANDLE_OFFSET + index;
}

export function unreserveVm(m: Machine, handle: u64): i32 {
  const index = handle - HANDLE_OFFSET;
  if (index >= MAX_VMS) return -EINVAL;
  if (acquire(m.word(VM_TABLE_LOCK)) != 0) return -ETIMEDOUT;
  const isReserved = load<u32>(entryOf(m, <u32>index)) == RESERVED;
  if (isReserved) store<u32>(entryOf(m, <u32>index), FREE);
  release(m.word(VM_TABLE_LOCK));
  return isReserved ? 0 : -EINVAL;
}

/** Takes a VM with just so many references out of the table, with its lock: nobody finds it any more. -ENOENT, -EBUSY. */
export function takeOut(m: Machine, handle: u64, references: u32): i32 {
  const vm = find(m, handle);
  if (!vm) return -ENOENT;
  if (referencesOf(vm) != references) return -EBUSY;
  held = vm;
  store<u32>(entryOf(m, vm.index), FREE);
  return 0;
}

/** The VM dies: nobody loads its vCPUs any more. */
export function markDying(m: Machine, handle: u64): i32 {
  if (acquire(m.word(VM_TABLE_LOCK)) != 0) return -ETIMEDOUT;
  const vm = find(m, handle);
  const result = !vm ? -ENOENT : referencesOf(vm) ? -EBUSY : 0;
  if (vm && result == 0) vm.dying = true;
  release(m.word(VM_TABLE_LOCK));
  return result;
}
