/**
 * What a thread that has ended leaves to VMs: its contexts, locks, an edition of the slot set that it did not end, invalidations. Faults
 * see an invalidation that ended, so none goes by what it asked before.
 */
import { header, H_OBJECTS, OBJECT_BYTES, objects, threadSlot, T_IN_PROGRESS, T_INVALIDATED } from "../layout";
import { VM } from "../pgt";
import { STATE_PAGE } from "../private";
import { destroyContextsOf } from "./life";
import { ownsSlots, releaseOf } from "./locks";
import { abandonLog } from "./log";
import { endEdition } from "./slots";
import { revalidate } from "./region";
import { INVALIDATE_SEQ, IN_PROGRESS, SEQUENCE, Vm, vmAt } from "./vm";

export function releaseVms(number: u32): void {
  const end = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < end; slot += OBJECT_BYTES) {
    const page = atomic.load<u32>(slot) == VM ? <usize>atomic.load<u32>(slot, STATE_PAGE) : 0;
    if (page) release(vmAt(page), number);
  }
  destroyContextsOf(number); // last: what their hardware has recorded is looked up in the slot sets
}

function release(vm: Vm, number: u32): void {
  const slot = threadSlot(number);
  if (load<u32>(slot, T_INVALIDATED) == <u32>changetype<usize>(vm)) endInvalidations(vm, load<u32>(slot, T_IN_PROGRESS));
  if (ownsSlots(vm, number)) {
    if (atomic.load<u64>(vm.word(SEQUENCE)) & 1) endEdition(vm);
    revalidate(vm);
    abandonLog(vm);
  }
  releaseOf(vm, slot, number);
}

function endInvalidations(vm: Vm, inProgress: u32): void {
  if (!inProgress) return;
  atomic.add<u64>(vm.word(INVALIDATE_SEQ), 1);
  atomic.sub<u32>(vm.word(IN_PROGRESS), inProgress);
}
