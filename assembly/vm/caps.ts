/** KVM_ENABLE_CAP, as far as it concerns the MMU. */
import { E2BIG, EINVAL } from "../errno";
import { freeSplitCache, splitSizes } from "./eager_split";
import { lockSlots, unlockSlots } from "./locks";
import { BACKUP_BITMAP, HDBSS, INITIALLY_SET, MANUAL_PROTECT, NISV_EXIT, RING, Vm } from "./vm";

// @ts-ignore: decorator
@inline const MANUAL_DIRTY_LOG_PROTECT2: u32 = 168;
// @ts-ignore: decorator
@inline const ARM_NISV_TO_USER: u32 = 177;
// @ts-ignore: decorator
@inline const DIRTY_LOG_RING_ACQ_REL: u32 = 223;
// @ts-ignore: decorator
@inline const DIRTY_LOG_RING_WITH_BITMAP: u32 = 225;
// @ts-ignore: decorator
@inline const ARM_EAGER_SPLIT_CHUNK_SIZE: u32 = 228;
/** Of this library: hardware tracks dirty state. */
// @ts-ignore: decorator
@inline const HARDWARE_DIRTY: u32 = 65536;

// @ts-ignore: decorator
@inline const ENTRY_BYTES: u64 = 16;
// @ts-ignore: decorator
@inline const LEAST_RING: u64 = 1024;
// @ts-ignore: decorator
@inline const LARGEST_RING: u64 = 1 << 20;

export function enableCap(vm: Vm, cap: u32, flags: u32, value: u64): i32 {
  const refused = lockSlots(vm);
  if (refused != 0) return refused;
  const result = flags ? -EINVAL : enable(vm, cap, value);
  unlockSlots(vm);
  return result;
}

function enable(vm: Vm, cap: u32, value: u64): i32 {
  if (cap == MANUAL_DIRTY_LOG_PROTECT2) return protectManually(vm, value);
  if (cap == ARM_NISV_TO_USER) return set(vm, NISV_EXIT);
  if (cap == DIRTY_LOG_RING_ACQ_REL) return useRings(vm, value);
  if (cap == DIRTY_LOG_RING_WITH_BITMAP) return vm.has(RING) && !vm.slots ? set(vm, BACKUP_BITMAP) : -EINVAL;
  if (cap == ARM_EAGER_SPLIT_CHUNK_SIZE) return splitBy(vm, value);
  if (cap == HARDWARE_DIRTY) return trackByHardware(vm, value);
  return -EINVAL;
}

function set(vm: Vm, option: u32): i32 {
  vm.options |= option;
  return 0;
}

/** Bit 0: protect when told to; bit 1: everything is dirty to begin with. */
function protectManually(vm: Vm, value: u64): i32 {
  if (value > 3 || value == 2) return -EINVAL;
  vm.options = (vm.options & ~(MANUAL_PROTECT | INITIALLY_SET)) | (value & 1 ? MANUAL_PROTECT : 0) | (value & 2 ? INITIALLY_SET : 0);
  return 0;
}

function useRings(vm: Vm, bytes: u64): i32 {
  if (!bytes || bytes & (bytes - 1) || bytes < LEAST_RING || bytes < vm.pageSize) return -EINVAL;
  if (bytes > LARGEST_RING) return -E2BIG;
  if (vm.has(RING) || vm.contexts) return -EINVAL;
  vm.ringEntries = <u32>(bytes / ENTRY_BYTES);
  return set(vm, RING);
}

function splitBy(vm: Vm, chunk: u64): i32 {
  const isLeafSize = chunk != 0 && !(chunk & (chunk - 1)) && chunk & splitSizes(vm.pageShift);
  if (vm.slots || (chunk != 0 && (!isLeafSize || vm.machine))) return -EINVAL; // under pKVM nothing splits
  freeSplitCache(vm);
  vm.chunk = chunk;
  return 0;
}

function trackByHardware(vm: Vm, on: u64): i32 {
  if (vm.slots || on > 1 || (on && vm.machine)) return -EINVAL;
  vm.options = on ? vm.options | HDBSS : vm.options & ~HDBSS;
  return 0;
}
