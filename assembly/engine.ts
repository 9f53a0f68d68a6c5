/** Laying out a region, joining one, leaving it; making and unmaking page-table objects in it. */
import { EBUSY, EDEADLK, EINVAL, EMFILE, ENOMEM, EPERM } from "./errno";
import { destroyAllOf } from "./cache";
import { ALLOC, ALLOC_EXACT, TABLES } from "./events";
import * as events from "./events";
import { levelShift, rootOrder, stage1Levels, stage2Possible } from "./geometry";
import {
  argument, enter, header, leave, HEADER_BYTES, H_BUDGET, H_COMMITTED, H_EVENTS, H_GROWABLE, H_MAGIC, H_OBJECTS, H_PHYS,
  H_THREADS, H_UNITS, H_VERSION, H_WATCHERS, MAGIC, overhead, PHYS_ALIGN, REGION_ALIGN, ringCapacity, setResult, share,
  thisThread, thread, T_CHANGES, T_INVALIDATES, UNIT_SHIFT, VERSION, toPhysical,
} from "./layout";
import { LAST_LEVEL } from "./descriptor";
import { dsbIshst } from "./maintenance";
import { HYP, NON_ATOMIC, Pgt, releaseSlot, setEvents, setWatched, STAGE2, STEPWISE, takeSlot } from "./pgt";
import * as pools from "./pool";
import { holdsNothing } from "./sync/lock";
import { giveThread, takeThread } from "./sync/thread";
import { pinVmid, resetVmids, VMID_BITS } from "./vmid";
import { rootBytes, startLevelOf, vtcr, wideAddresses } from "./vtcr";

// @ts-ignore: decorator
@inline const MAX_ROOT_PAGES: u32 = 16;
// @ts-ignore: decorator
@inline const MAX_EVENTS: u32 = 1 << 26;
// @ts-ignore: decorator
@inline const TABLE_ADDRESS_LIMIT: u64 = <u64>1 << 48;

/** Lays out a region; whatever an embedder's memory held there is overwritten. Attach follows. */
export function initialise(
  base: usize, bytes: u64, phys: u64, units: u32, threads: u32, objectCount: u32, eventCount: u32, growable: bool,
): i32 {
  const before = overhead(units, threads, objectCount, eventCount);
  const whole = before + (<u64>units << UNIT_SHIFT);
  if (<u64>base & (REGION_ALIGN - 1) || !base || bytes & (REGION_ALIGN - 1) || phys & (PHYS_ALIGN - 1)) return -EINVAL;
  if (!units || !threads || !objectCount || eventCount > MAX_EVENTS || <u64>base + whole >= <u64>1 << 32) return -EINVAL;
  if (phys + (<u64>units << UNIT_SHIFT) > TABLE_ADDRESS_LIMIT) return -EINVAL;
  if (bytes < before || (!growable && bytes < whole)) return -ENOMEM;
  const present = <u64><u32>memory.size() << 16;
  if (present < <u64>base + min(bytes, whole)) return -ENOMEM;
  if (!growable) memory.fill(base, 0, <usize>before); // a memory of our own is new
  store<u32>(base, VERSION, H_VERSION);
  store<u32>(base, threads, H_THREADS);
  store<u32>(base, objectCount, H_OBJECTS);
  store<u32>(base, ringCapacity(eventCount), H_EVENTS);
  store<u32>(base, units, H_UNITS);
  store<u32>(base, growable, H_GROWABLE);
  store<u64>(base, phys, H_PHYS);
  store<u32>(base, units, H_BUDGET);
  store<u32>(base, <u32>((min(bytes, whole) - before) >> UNIT_SHIFT), H_COMMITTED);
  resetVmids(base, VMID_BITS);
  atomic.store<u64>(base, MAGIC, H_MAGIC);
  return 0;
}

function isRegion(base: usize): bool {
  const present = <u64><u32>memory.size() << 16;
  return base != 0 && !(<u64>base & (REGION_ALIGN - 1)) && <u64>base + HEADER_BYTES <= present &&
    atomic.load<u64>(base, H_MAGIC) == MAGIC;
}

export function versionAt(base: usize): u32 { return isRegion(base) ? load<u32>(base, H_VERSION) : 0; }

/** Takes a thread slot of the region at `base`. The second thread makes the engine shared, if nobody has said so before. */
export function attach(base: usize): i32 {
  if (!isRegion(base)) return -EINVAL;
  if (versionAt(base) != VERSION) return -EPERM;
  if (detach() != 0) return -EDEADLK;
  const slot = takeThread(base);
  if (slot < 0) return -EBUSY;
  enter(base, slot);
  if (slot > 0) share();
  return slot;
}

/** Whether this thread is attached, and in the middle of nothing. */
export function mayLeave(): bool { return thread != 0 && holdsNothing() && !load<u32>(thread, T_CHANGES) && !load<u32>(thread, T_INVALIDATES); }

/** Gives the slot back, once: a second call must not free it for whoever has it by then. */
export function detach(): i32 {
  if (thread && !mayLeave()) return -EDEADLK;
  if (thread) {
    destroyAllOf(thisThread());
    giveThread(thread);
  }
  leave();
  return 0;
}

// ---- page tables -----------------------------------------------------------------------------------------------

function describe(pgt: Pgt): void {
  setResult(0, pgt.vtcr);
  setResult(1, <u64>pgt.rootPages << pgt.pageShift);
  setResult(2, pgt.iaBits);
  setResult(3, <u64>pgt.startLevel);
  setResult(4, pgt.root ? toPhysical(pgt.root) : 0);
}

function create(kind: u32, pageShift: u32, iaBits: u32, startLevel: i32, options: u32, mask: u32): Pgt | null {
  const slot = takeSlot(kind);
  if (!slot) return null;
  const pgt = changetype<Pgt>(slot);
  pgt.options = options;
  pgt.pageShift = pageShift;
  pgt.startLevel = startLevel;
  pgt.rootShift = levelShift(pageShift, startLevel);
  pgt.iaBits = iaBits;
  if (pgt.has(NON_ATOMIC)) pgt.events = STEPWISE;
  setEvents(pgt, mask);
  if (atomic.load<u32>(header, H_WATCHERS)) setWatched(true); // a vCPU that came meanwhile counted itself first
  pgt.paLimit = <u64>1 << (wideAddresses(pageShift, options) ? 52 : 48);
  return pgt;
}

function isUsual(pgt: Pgt): bool { return pgt.pageShift == 12 && pgt.startLevel == 1 && !pgt.lpa2; }

function isGranule(pageShift: u32): bool { return pageShift == 12 || pageShift == 14 || pageShift == 16; }

/** kvm_pgtable_stage2_init: ID registers in arguments 0 and 1. */
export function stage2Init(pageShift: u32, ipaBits: u32, options: u32, mask: u32): i32 {
  if (!isGranule(pageShift) || !stage2Possible(pageShift, ipaBits)) return -EINVAL;
  const startLevel = startLevelOf(pageShift, ipaBits);
  const pgt = create(STAGE2, pageShift, ipaBits, startLevel, options, mask);
  if (!pgt) return -EMFILE;
  pgt.vtcr = vtcr(pageShift, ipaBits, options, argument(0), argument(1));
  pgt.rootPages = <u32>(rootBytes(pageShift, ipaBits, startLevel) >> pageShift);
  if (!giveRoot(pgt)) return -ENOMEM;
  if (pgt.logs(TABLES)) events.append(ALLOC_EXACT, 0, thisThread(), pgt.rootPages, toPhysical(pgt.root), 0, 0);
  dsbIshst(pgt);
  return <i32>changetype<usize>(pgt);
}

/** kvm_pgtable_hyp_init: one root page. */
export function hypInit(pageShift: u32, vaBits: u32, options: u32, mask: u32): i32 {
  if (!isGranule(pageShift) || vaBits < 4 || vaBits > 60) return -EINVAL;
  const startLevel = LAST_LEVEL + 1 - stage1Levels(pageShift, vaBits);
  if (startLevel > LAST_LEVEL || startLevel < -1) return -EINVAL;
  const pgt = create(HYP, pageShift, vaBits, startLevel, options, mask);
  if (!pgt) return -EMFILE;
  pgt.rootPages = 1;
  if (!giveRoot(pgt)) return -ENOMEM;
  if (pgt.logs(TABLES)) events.append(ALLOC, 0, thisThread(), 0, toPhysical(pgt.root), 0, 0);
  return <i32>changetype<usize>(pgt);
}

/** An empty table of any shape, for a tree that is filled in from outside (an imported image). VTCR in argument 0. */
export function createShaped(
  kind: u32, pageShift: u32, iaBits: u32, startLevel: i32, options: u32, rootPages: u32,
): i32 {
  if ((kind != STAGE2 && kind != HYP) || !isGranule(pageShift) || iaBits > 52) return -EINVAL;
  if (startLevel < -1 || startLevel > LAST_LEVEL || rootPages > (kind == HYP ? 1 : MAX_ROOT_PAGES)) return -EINVAL;
  if (<u32>1 << rootOrder(pageShift, iaBits, startLevel) != rootPages) return -EINVAL;
  const pgt = create(kind, pageShift, iaBits, startLevel, options, 0);
  if (!pgt) return -EMFILE;
  pgt.vtcr = argument(0);
  pgt.rootPages = rootPages;
  return giveRoot(pgt) ? <i32>changetype<usize>(pgt) : -ENOMEM;
}

/** Allocates the root and describes the table in the results; without memory the object is given back. */
function giveRoot(pgt: Pgt): bool {
  pgt.root = pools.allocate(pgt.pageShift, pgt.rootPages);
  describe(pgt);
  if (pgt.root) {
    pgt.limit = <u64>1 << pgt.iaBits;
    if (isUsual(pgt)) pgt.usualLimit = pgt.limit;
    pgt.tables = pgt.rootPages;
    if (pgt.kind == STAGE2) pinVmid(pgt);
    return true;
  }
  releaseSlot(changetype<usize>(pgt));
  return false;
}
