/**
 * Contiguous groups (Arm ARM D8.6): neighbours that promise to agree. We use each entry alone; a checker wants to know
 * when a group breaks its promise, and a knob makes that a TLB conflict abort, as real TLBs may.
 */
import { AF, S2AP_W, isValid } from "../descriptor";
import { CONTIGUOUS } from "../events";
import * as slots from "../slot";
import { Regime } from "./regime";
import { IS_PROBE, TLB, Vcpu } from "./state";
import { logStep } from "./trace";

/** log2 of the entries of a group at this level. */
export function groupShift(pageShift: u32, level: i32): u32 {
  if (pageShift == 12) return 4;
  if (pageShift == 16) return 5;
  return level == 3 ? 7 : 5;
}

/** What members may differ in: hardware sets access flag and dirty state in one of them. */
// @ts-ignore: decorator
@inline const MAY_DIFFER: u64 = AF | S2AP_W;

/** Whether every member of the entry's group is what the entry says they all are. */
export function isConsistent(
  v: Vcpu, r: Regime, slot: usize, pte: u64, level: i32, stage: u32, mode: u32,
): bool {
  const group = groupShift(r.pageShift, level);
  const size = r.pageShift + <u32>(3 - level) * (r.pageShift - 3);
  const first = slot & ~((<usize>8 << group) - 1);
  const index = <u64>(slot - first) >> 3;
  const members = <u64>1 << group;
  const attributes = ~(r.address(~(<u64>0)) | MAY_DIFFER) & ~(<u64>0b11 << 8);
  const base = r.address(pte) - (index << size);
  const aligned = (base & ((members << size) - 1)) == 0;
  for (let i: u64 = 0; i < members; i++) {
    const other = slots.read(first + (<usize>i << 3));
    const agrees = isValid(other) && ((other ^ pte) & attributes) == 0 && r.address(other) == base + (i << size);
    if (agrees && aligned) continue;
    if (v.events & TLB && !(mode & IS_PROBE)) logStep(v, CONTIGUOUS, stage, level, <u32>i, slot, pte, other);
    return false;
  }
  return true;
}
