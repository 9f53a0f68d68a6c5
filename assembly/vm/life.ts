/** Making the page table of a VM, and the end of both. */
import { EINVAL } from "../errno";
import { stage2Init } from "../engine";
import { levelShift, stage2Levels } from "../geometry";
import { argument, H_OBJECTS, header, OBJECT_BYTES, objects, setResult } from "../layout";
import * as operate from "../operate";
import { READ_SIDE, settleOrphans, WRITE_SIDE } from "../operation";
import { CONTEXT, LOCKING, OWN_VMID, Pgt } from "../pgt";
import { createGuest } from "../pkvm/el1/life";
import { faultSide } from "../pkvm/el1/operate";
import { Machine, machineAt, PAGES } from "../pkvm/machine";
import { STATE_PAGE } from "../private";
import { Context, contextAt, contextOf, removeContext } from "./context";
import { keepRing } from "./dirty";
import { freeSplitCache } from "./eager_split";
import { putContext } from "./load";
import { beginPublishing, dropLocks, endOwn, PUBLISHING, endPublishing, locked, lockSlots, lockTable, NO_TABLE, unlockSlots, unlockTable } from "./locks";
import * as mmu from "./mmu";
import { freeBitmaps } from "./region";
import { freeSet } from "./slot_set";
import { ACTIVE, freeVm, MAX_CONTEXTS, PROTECTED, PROTECTED_GUEST, Vm } from "./vm";

/** Machine types: 0, or a number of IPA bits (KVM_VM_TYPE_ARM_IPA_SIZE). */
// @ts-ignore: decorator
@inline const DEFAULT_BITS: u32 = 40;
// @ts-ignore: decorator
@inline const LEAST_BITS: u32 = 32;

/** IPA bits that a machine type asks for; 0: none that the host has. */
function ipaBitsOf(vm: Vm, type: u32): u32 {
  if (type > 0xff) return 0;
  if (vm.has(PROTECTED)) return vm.hostBits;
  const bits = type == 0 ? DEFAULT_BITS : type;
  return bits < LEAST_BITS || bits > vm.hostBits ? 0 : bits;
}

/** kvm_init_stage2_mmu: 0, -EINVAL, or as the page-table library. A nested MMU may ask again. */
export function initTable(vm: Vm, type: u32, options: u32, events: u32, nested: bool): i32 {
  const refused = lockSlots(vm);
  if (refused != 0) return refused;
  const result = vm.pgt ? (nested ? 0 : -EINVAL) : makeTable(vm, type, options, events);
  unlockSlots(vm);
  return result;
}

function makeTable(vm: Vm, type: u32, options: u32, events: u32): i32 {
  const machine = <usize>argument(2);
  if (machine) {
    const refused = joinMachine(vm, machineAt(machine), <u32>argument(3));
    if (refused != 0) return refused;
  }
  const bits = ipaBitsOf(vm, type);
  if (!bits) return -EINVAL;
  const own = options | OWN_VMID | LOCKING;
  const table = machine ? createGuest(machineAt(machine), MAX_CONTEXTS, 0, <u32>argument(3), own, events) : stage2Init(vm.pageShift, bits, own, events);
  if (table < 0 && table >= -4095) return table;
  vm.ipaBits = bits;
  vm.minPages = <u32>(stage2Levels(vm.pageShift, bits) - 1);
  const blockLevel = vm.pageShift == 12 ? 1 : 2;
  vm.block = <u64>1 << levelShift(vm.pageShift, blockLevel);
  vm.faultSide = machine ? faultSide(tableAt(table)) : READ_SIDE;
  vm.maxShift = machine ? largestOf(vm, machineAt(machine)) : levelShift(vm.pageShift, blockLevel);
  vm.chunk = 0;
  vm.vmid = 0;
  memory.fill(vm.lastRun, 0, <usize>vm.lastRunUnits << 12);
  vm.pgt = <usize>table;
  setResult(5, <u64><u32>table);
  return 0;
}

// @ts-ignore: decorator
@inline function tableAt(pointer: i32): Pgt { return changetype<Pgt>(<usize>pointer); }

/** The IPA size is the machine's, as are its pages. */
function joinMachine(vm: Vm, m: Machine, flags: u32): i32 {
  if (m.pageShift != vm.pageShift || !m.host) return -EINVAL;
  vm.machine = changetype<usize>(m);
  vm.hostBits = m.paBits;
  vm.options |= PROTECTED | (flags ? PROTECTED_GUEST : 0);
  return 0;
}

/** Of blocks there is one size, if there is any. */
function largestOf(vm: Vm, m: Machine): u32 {
  return m.has(PAGES) || vm.has(PROTECTED_GUEST) ? vm.pageShift : levelShift(vm.pageShift, 2);
}

/**
 * kvm_free_stage2_pgd: the page table is taken from the VM and destroyed under one hold of the write side, so nobody finds the VM
 * without it before it is gone. CPUs that have contexts of the VM loaded lose its table; those of other threads must be at rest.
 * 0, also the second time; -EDEADLK, -EBUSY: nothing was done; -ETIMEDOUT: that, or somebody may still be inside what is gone.
 */
export function teardown(vm: Vm): i32 {
  putAll(vm);
  const result = lockTable(vm, WRITE_SIDE);
  if (result != 0) return result == NO_TABLE ? 0 : result;
  const pgt = changetype<Pgt>(locked);
  vm.pgt = 0;
  const status = mmu.destroy(pgt);
  const isGone = pgt.root == 0;
  if (!isGone) vm.pgt = changetype<usize>(pgt); // a vCPU of the hypervisor's is loaded by hand
  unlockTable(WRITE_SIDE);
  if (!isGone) return status;
  operate.release(pgt);
  vm.machine = 0;
  return status;
}

function putAll(vm: Vm): void {
  for (let id: u32 = 0; id < MAX_CONTEXTS; id++) {
    const context = contextOf(vm, id);
    if (!context) continue;
    putContext(contextAt(context));
    mmu.leaveMachine(contextAt(context));
  }
}

/**
 * The VM, and all that belongs to it: while it ends nobody else changes its slots, and no invalidation is in flight. -ETIMEDOUT with
 * the VM still there: nothing was done. Contexts of other threads must be at rest.
 */
export function destroyVm(vm: Vm): i32 {
  let result = lockSlots(vm);
  if (result != 0) return result;
  endOwn(vm);
  result = beginPublishing(vm);
  if (result == 0) {
    result = teardown(vm);
    if (vm.pgt) endPublishing(vm);
  }
  if (vm.pgt || atomic.load<u32>(vm.word(ACTIVE)) != PUBLISHING) {
    unlockSlots(vm);
    return result;
  }
  for (let id: u32 = 0; id < MAX_CONTEXTS; id++) {
    const context = contextOf(vm, id);
    if (context) removeContext(contextAt(context));
  }
  freeBitmaps(vm);
  freeSplitCache(vm);
  freeSet(vm);
  freeVm(vm); // who waits for one of its locks finds it gone
  dropLocks(vm);
  settleOrphans(false);
  return result;
}

export function destroyContext(c: Context): void {
  putContext(c);
  keepRing(c.vm, c);
  mmu.leaveMachine(c);
  removeContext(c);
}

/** The contexts of a thread that leaves, or has ended. */
export function destroyContextsOf(thread: u32): void {
  const stop = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < stop; slot += OBJECT_BYTES) {
    if (atomic.load<u32>(slot) != CONTEXT) continue;
    const page = <usize>atomic.load<u32>(slot, STATE_PAGE);
    if (page && contextAt(page).thread == thread) destroyContext(contextAt(page));
  }
}
