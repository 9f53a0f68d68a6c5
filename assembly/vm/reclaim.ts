/**
 * What a thread that has ended leaves to VMs: its contexts, locks, an edition of the slot set that it did not end, invalidations. Faults
 * see an invalidation that ended, so none goes by what it asked before.
 */
import { header, H_OBJECTS, OBJECT_BYTES, objects, threadSlot, T_INVALIDATED, T_INVALIDATES } from "../layout";
import { VM } from "../pgt";
import { destroyContextsOf } from "./life";
import { releaseOf } from "./locks";
import { endEdition } from "./slots";
import { revalidate } from "./region";
import { INVALIDATE_SEQ, IN_PROGRESS, SEQUENCE, SLOTS_LOCK, STATE_PAGE, Vm, vmAt } from "./vm";

export function releaseVms(number: u32): void {
  destroyContextsOf(number);
  const end = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < end; slot += OBJECT_BYTES) {
    const page = atomic.load<u32>(slot) == VM ? <usize>atomic.load<u32>(slot, STATE_PAGE) : 0;
    if (page) release(vmAt(page), number);
  }
}

function release(vm: Vm, number: u32): void {
  const slot = threadSlot(number);
  if (load<u32>(slot, T_INVALIDATED) == <u32>changetype<usize>(vm)) endInvalidations(vm, load<u32>(slot, T_INVALIDATES));
  if (atomic.load<u32>(vm.word(SLOTS_LOCK)) == number + 1) {
    if (atomic.load<u64>(vm.word(SEQUENCE)) & 1) endEdition(vm);
    revalidate(vm);
  }
  releaseOf(vm, slot, number);
}

/** Those that met no slot were not in progress: there may be fewer. */
function endInvalidations(vm: Vm, started: u32): void {
  if (!started) return;
  atomic.add<u64>(vm.word(INVALIDATE_SEQ), 1);
  const inProgress = atomic.load<u32>(vm.word(IN_PROGRESS));
  atomic.sub<u32>(vm.word(IN_PROGRESS), min(started, inProgress));
}
