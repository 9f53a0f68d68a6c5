/** Events of vCPUs: each descriptor fetched, each update by hardware, what TLBs hold and drop. */
import * as events from "../events";
import { HW_READ } from "../events";
import { physicalOf } from "../memory";
import { derived, TLB, Vcpu } from "./state";

// @ts-ignore: decorator
@inline function agent(v: Vcpu, what: u32): u32 { return derived(v).number << 4 | what; }

/** A step of a walk on the descriptor at `slot`. */
export function logStep(v: Vcpu, kind: u32, stage: u32, level: i32, n: u32, slot: usize, value: u64, ia: u64): void {
  events.append(kind, level, agent(v, stage), n, physicalOf(slot), value, ia);
}

export function logRead(v: Vcpu, stage: u32, level: i32, slot: usize, value: u64, ia: u64): void {
  logStep(v, HW_READ, stage, level, 0, slot, value, ia);
}

/** What happened to a TLB entry. `n`: VMID and ASID. */
export function logTlb(v: Vcpu, kind: u32, what: u32, level: i32, n: u32, ia: u64, b: u64, c: u64): void {
  if (v.events & TLB) events.append(kind, level, agent(v, what), n, ia, b, c);
}
