/** What a VM tells of itself, in the results. */
import { ENOENT } from "../errno";
import { setResult } from "../layout";
import { Pgt } from "../pgt";
import { numberIn } from "../vmid";
import { inProgress, sequenceOf } from "./notifier";
import { base, bitmap, flags, hva, id, INVALID_SLOT, pages, state } from "./slots";
import { ACTIVE, RANGE_END, RANGE_START, SEQUENCE, Vm } from "./vm";

export function describe(vm: Vm): usize {
  const table = vm.pgt;
  const identity = atomic.load<u64>(changetype<usize>(vm) + offsetof<Vm>("vmid"));
  setResult(0, vm.ipaBits);
  setResult(1, vm.hostBits);
  setResult(2, table ? changetype<Pgt>(table).vmid : numberIn(identity));
  setResult(3, identity);
  setResult(4, vm.minPages);
  setResult(5, vm.block);
  setResult(6, vm.options);
  setResult(7, vm.chunk);
  return table;
}

export function tellState(vm: Vm): void {
  setResult(0, sequenceOf(vm));
  setResult(1, inProgress(vm));
  setResult(2, atomic.load<u32>(vm.word(ACTIVE)) & 0x7fff_ffff);
  setResult(3, atomic.load<u64>(vm.word(SEQUENCE)));
  setResult(4, vm.slots);
  setResult(5, vm.totalPages);
  setResult(6, atomic.load<u64>(vm.word(RANGE_START)));
  setResult(7, atomic.load<u64>(vm.word(RANGE_END)));
}

/** The slot that a lookup found: its id, with the rest in the results. */
export function tellSlot(vm: Vm, found: i32): i32 {
  if (found <= 0) return found < 0 ? found : -ENOENT;
  setResult(0, base << vm.pageShift);
  setResult(1, pages << vm.pageShift);
  setResult(2, hva);
  setResult(3, flags);
  setResult(4, bitmap);
  setResult(5, <u64>(state == INVALID_SLOT));
  return <i32>id;
}
