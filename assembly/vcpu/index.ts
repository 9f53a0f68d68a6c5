/** The ABI of vCPUs and of the physical memory map. VAs cross as signed f64, or raw in the argument block. */
import { putOwner } from "../vm/load";
import { ENOENT, ETIMEDOUT } from "../errno";
import { TLBI } from "../events";
import * as events from "../events";
import { argument, setResult, shared, thisThread } from "../layout";
import { addSegment, describeSegment, freeSegment, hideSegment, pointerTo } from "../memory";
import { ALL_THREADS, announce, VAE1 } from "../tlbi";
import { signedWord, word } from "../number";
import { complete } from "../sync/completion";
import { openHardware, leaveHardware } from "../sync/section";
import { beginWaiting, isLate } from "../sync/wait";
import { refuse, vcpuInside } from "../operation";
import * as access from "./access";
import { addressTranslate, probe } from "./at";
import { enterBracket, exitBracket, pollBracket } from "./bracket";
import { configure, vmidOf } from "./configure";
import { create, destroy, generationAt } from "./create";
import { clean } from "./hdbss";
import * as monitor from "./monitor";
import { derived, FETCH, READ, TLB, Vcpu, WRITE } from "./state";
import { translate, translateMany } from "./translate";

// @ts-ignore: decorator
@inline function vcpu(pointer: usize): Vcpu { return changetype<Vcpu>(pointer); }

// @ts-ignore: decorator
@inline function code(v: Vcpu): i32 { return -1 - <i32>v.fsc; }

// ---- physical memory map ---------------------------------------------------------------------------------------

export function map_add(pa: f64, pointer: usize, bytes: f64): i32 { return addSegment(word(pa), pointer, word(bytes)); }

/** Returns when no vCPU is in the middle of an access to what was there. */
export function map_remove(pa: f64): i32 {
  const segment = hideSegment(word(pa));
  if (!segment) return -ENOENT;
  const result = completed();
  if (result == 0) freeSegment(segment); // else it stays taken: somebody may still be about to use it
  return result;
}

export function map_segment(index: u32): bool { return describeSegment(index); }
export function map_pointer(pa: f64): usize { return pointerTo(word(pa)); }

// ---- vCPUs -------------------------------------------------------------------------------------------------------

export function vcpu_create(sets: u32, ways: u32): i32 { return create(sets, ways); }
/** A context that it has loaded is put first: what its hardware has recorded is not lost. */
export function vcpu_destroy(v: usize): void {
  putOwner(derived(vcpu(v)).owner);
  destroy(vcpu(v));
}
export function vcpu_generation(v: usize): u32 { return generationAt(v); }
export function vcpu_number(v: usize): u32 { return derived(vcpu(v)).number; }
export function vcpu_configure(v: usize): void { configure(vcpu(v)); }
export function vcpu_clear_exclusive(v: usize): void { monitor.open(vcpu(v)); }

export function vcpu_hacdbs(v: usize): u32 {
  const entered = openHardware();
  const processed = clean(vcpu(v));
  if (entered) leaveHardware();
  return processed;
}

export function vcpu_translate(v: usize, va: f64, mode: u32): f64 { return translate(vcpu(v), signedWord(va), mode); }
export function vcpu_translate_u64(v: usize, mode: u32): f64 { return translate(vcpu(v), argument(0), mode); }

export function vcpu_translate_many(v: usize, from: usize, to: usize, count: u32, mode: u32): u32 {
  return translateMany(vcpu(v), from, to, count, mode);
}

// What follows uses the page that it finds, so it is a hardware section from the first look at the TLB to the last byte.

export function vcpu_probe(v: usize, mode: u32): i32 {
  const entered = openHardware();
  const done = probe(vcpu(v), argument(0), mode);
  if (entered) leaveHardware();
  return done ? 0 : code(vcpu(v));
}

export function vcpu_at(v: usize, op: u32): i32 {
  const entered = openHardware();
  const done = addressTranslate(vcpu(v), op, argument(0));
  if (entered) leaveHardware();
  return done ? 0 : code(vcpu(v));
}

export function vcpu_read(v: usize, va: f64, size: u32): f64 {
  const entered = openHardware();
  const done = access.read(vcpu(v), signedWord(va), size, READ);
  if (entered) leaveHardware();
  return done ? <f64>access.low : <f64>code(vcpu(v));
}

export function vcpu_write(v: usize, va: f64, size: u32, value: f64): i32 {
  const entered = openHardware();
  const done = access.write(vcpu(v), signedWord(va), size, WRITE, signedWord(value), 0);
  if (entered) leaveHardware();
  return done ? 0 : code(vcpu(v));
}

export function vcpu_access(v: usize, op: u32, size: u32, flags: u32): i32 {
  const entered = openHardware();
  const result = accessOf(vcpu(v), op, size, flags);
  if (entered) leaveHardware();
  return result;
}

function accessOf(cpu: Vcpu, op: u32, size: u32, flags: u32): i32 {
  const va = argument(0);
  const value = argument(1);
  let done: bool;
  if (op == access.OP_READ) done = access.read(cpu, va, size, flags | READ);
  else if (op == access.OP_WRITE) done = access.write(cpu, va, size, flags | WRITE, value, argument(2));
  else if (op == access.OP_FETCH) done = access.read(cpu, va, size, flags | FETCH);
  else if (op == access.OP_LDXR) done = access.loadExclusive(cpu, va, size, flags);
  else if (op == access.OP_STXR) done = access.storeExclusive(cpu, va, size, flags, value);
  else done = access.atomicAccess(cpu, va, op, size, flags, value, argument(2));
  if (!done) return code(cpu);
  setResult(0, access.low);
  setResult(1, access.high);
  setResult(2, access.physical);
  return 0;
}

// ---- TLB -----------------------------------------------------------------------------------------------------------

/** The 4 KiB pages of an operand: one address, or argument 1 pages of the smallest granule. */
function invalidate(op: u32, vmid: u32, level: i32, threads: u32, agent: u32, logged: bool): void {
  // The operand of an invalidation by VA has no tag byte: bit 55 says which half is meant.
  const address = op < VAE1 ? argument(0) : <u64>(<i64>(argument(0) << 8) >> 8);
  const pages = <u32>argument(1);
  const asid = <u32>argument(2) & 0xffff;
  announce(op, level, vmid, asid, address, pages, threads);
  if (logged) events.append(TLBI, level, op | agent << 5, vmid | asid << 16, address, pages, threads == ALL_THREADS ? 1 : 0);
}

/** A broadcast has a DSB behind it. The vCPU itself may be inside its bracket: its own addresses from before are void. */
export function vcpu_tlbi(v: usize, op: u32, level: i32, broadcast: bool): i32 {
  const cpu = vcpu(v);
  const number = derived(cpu).number;
  if (broadcast && vcpuInside() && vcpuInside() != number) return refuse();
  invalidate(op, vmidOf(cpu), level, broadcast ? ALL_THREADS : thisThread(), number, (cpu.events & TLB) != 0);
  return broadcast ? completed() : 0;
}

export function engine_tlbi(op: u32, vmid: u32, level: i32): i32 {
  if (vcpuInside()) return refuse();
  invalidate(op, vmid, level, ALL_THREADS, 0, false);
  return completed();
}

function completed(): i32 {
  if (!shared) return 0;
  beginWaiting();
  complete();
  return isLate() ? -ETIMEDOUT : 0;
}

// ---- the bracket in which a translation is good ----------------------------------------------------------------

export function vcpu_poll(v: usize): u32 { return pollBracket(vcpu(v)); }
export function vcpu_enter(v: usize): i32 { return enterBracket(vcpu(v)); }
export function vcpu_exit(v: usize): void { exitBracket(vcpu(v)); }
