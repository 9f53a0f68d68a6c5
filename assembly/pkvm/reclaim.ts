/** Taking from a thread that has ended what it has of hypervisors: locks, and the vCPU that is loaded on its CPU. */
import { header, H_OBJECTS, OBJECT_BYTES, objects, threadSlot } from "../layout";
import { MACHINE } from "../pgt";
import { STATE_PAGE } from "../private";
import { leave } from "./el1/lock";
import { releaseOf } from "./locks";
import { HOST_LOCK, HYP_LOCK, LIST_LOCK, Machine, machineAt, MAX_VMS, VM_TABLE_LOCK } from "./machine";
import { putOf } from "./vcpus";
import { entryOf, letGoOf, RESERVED, vmAt } from "./vms";

export function releaseMachines(number: u32): void {
  const end = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < end; slot += OBJECT_BYTES) {
    const page = atomic.load<u32>(slot) == MACHINE ? <usize>atomic.load<u32>(slot, STATE_PAGE) : 0;
    if (page) releaseLocks(machineAt(page), number);
  }
  leave(threadSlot(number));
  letGoOf(threadSlot(number));
  putOf(threadSlot(number));
}

function releaseLocks(m: Machine, number: u32): void {
  releaseOf(m.word(LIST_LOCK), number);
  releaseOf(m.word(HYP_LOCK), number);
  for (let index: u32 = 0; index < MAX_VMS; index++) {
    const vm = atomic.load<u32>(entryOf(m, index));
    if (vm > RESERVED) releaseOf(vmAt(vm).lock, number);
  }
  releaseOf(m.word(HOST_LOCK), number);
  releaseOf(m.word(VM_TABLE_LOCK), number);
}
