/** Making and unmaking vCPUs: an object slot, a page of state, two TLB arrays from the pool. */
import { EINVAL, EMFILE, ENOMEM } from "../errno";
import { H_OBJECTS, H_WATCHERS, header, OBJECT_BYTES, objects, shared, thisThread } from "../layout";
import { numberOf, Pgt, releaseSlot, setWatched, takeSlot, VCPU } from "../pgt";
import { freePrivate, privatePages, STATE_PAGE, unitsFor } from "../private";
import { head } from "../tlbi";
import { forgetCpu } from "../vmid";
import { exitBracket } from "./bracket";
import { configure } from "./configure";
import { derived, Vcpu } from "./state";
import { ENTRY_BYTES } from "./tlb";

// @ts-ignore: decorator
@inline const MAX_SETS: u32 = 4096;
// @ts-ignore: decorator
@inline const MAX_WAYS: u32 = 8;
/** Both arrays are one run of pages, at most 1 MiB. */
// @ts-ignore: decorator
@inline const MAX_ENTRIES: u32 = 16384;
// @ts-ignore: decorator
@inline const EL1: u64 = 1 << 2;
// @ts-ignore: decorator
@inline const ERG_SHIFT: u32 = 6;

export function create(sets: u32, ways: u32): i32 {
  if (!sets != !ways || sets > MAX_SETS || ways > MAX_WAYS || sets * ways > MAX_ENTRIES || (sets & (sets - 1) | ways & (ways - 1)) != 0) return -EINVAL;
  const slot = takeSlot(VCPU);
  if (!slot) return -EMFILE;
  const page = privatePages(1);
  if (!page) {
    releaseSlot(slot);
    return -ENOMEM;
  }
  const v = changetype<Vcpu>(page);
  const d = derived(v);
  if (sets && !giveTlb(v, sets, ways)) {
    freePrivate(page, 1);
    releaseSlot(slot);
    return -ENOMEM;
  }
  store<u32>(slot, <u32>page, STATE_PAGE);
  d.slot = slot;
  d.number = numberOf(slot);
  d.thread = thisThread();
  v.pstate = EL1;
  v.ergShift = ERG_SHIFT;
  d.seen = head();
  configure(v);
  if (d.hasTlb) {
    atomic.add<u32>(header, 1, H_WATCHERS);
    setWatched(true);
  }
  return <i32>page;
}

function giveTlb(v: Vcpu, sets: u32, ways: u32): bool {
  const d = derived(v);
  // Both arrays in one piece, the combined one first: a look beyond its end finds stage-2 entries, whose tags differ.
  d.units = unitsFor(<u64>(2 * sets * ways) * ENTRY_BYTES);
  d.combined = privatePages(d.units);
  if (!d.combined) return false;
  d.stage2 = d.combined + <usize>(sets * ways) * ENTRY_BYTES;
  d.sets = sets;
  d.ways = ways;
  d.setShift = ctz<u32>(ways * <u32>ENTRY_BYTES);
  d.setBits = (sets - 1) << d.setShift;
  d.lastWay = (ways - 1) * <u32>ENTRY_BYTES;
  d.hasTlb = true;
  return true;
}

/** Tells the vCPU whose state page this is from others that were there; 0: none is. */
export function generationAt(page: usize): u32 {
  const end = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < end; slot += OBJECT_BYTES) {
    if (atomic.load<u32>(slot) == VCPU && load<u32>(slot, STATE_PAGE) == <u32>page) {
      return load<u32>(slot, offsetof<Pgt>("generation"));
    }
  }
  return 0;
}

/** Tables stay watched where a vCPU of another thread could come between the count and the sweep. */
export function destroy(v: Vcpu): void {
  const d = derived(v);
  const slot = d.slot;
  exitBracket(v);
  if (d.owner) store<u32>(d.owner, 0);
  forgetCpu(d.number);
  if (d.hasTlb) {
    freePrivate(d.combined, d.units);
    if (atomic.sub<u32>(header, 1, H_WATCHERS) == 1 && !shared) setWatched(false);
  }
  store<u32>(slot, 0, STATE_PAGE);
  freePrivate(changetype<usize>(v), 1);
  releaseSlot(slot);
}

/** The vCPUs of a thread that has ended. */
export function destroyAllOf(thread: u32): void {
  const end = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < end; slot += OBJECT_BYTES) {
    if (atomic.load<u32>(slot) != VCPU) continue;
    const page = <usize>load<u32>(slot, STATE_PAGE);
    if (page && derived(changetype<Vcpu>(page)).thread == thread) destroy(changetype<Vcpu>(page));
  }
}
