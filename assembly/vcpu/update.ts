/**
 * What hardware writes into descriptors: access flag and dirty state, in one compare-exchange of the whole descriptor
 * against the value that was walked (Arm ARM D8.5; HAFDBS). A coherent store like any other: it opens exclusive
 * monitors that watch the granule.
 */
import { AF } from "../descriptor";
import { HW_UPDATE } from "../events";
import * as slots from "../slot";
import { lockLine, unlockLine } from "./granule";
import { AF_STAGE1, AF_STAGE2, count, DIRTY_STAGE1, DIRTY_STAGE2, has, STRICT_MONITOR, UPDATES, Vcpu } from "./state";
import { logStep } from "./trace";

/** One exchange of a descriptor by hardware. False: it is no longer `old`, and nothing was written. */
export function exchange(v: Vcpu, slot: usize, old: u64, next: u64): bool {
  if (!has(v, STRICT_MONITOR)) return slots.compareExchange(slot, old, next) == old;
  const version = lockLine(slot);
  const done = slots.compareExchange(slot, old, next) == old;
  unlockLine(slot, version, done);
  return done;
}

/** Flips the bits of `change` in an entry that still is `old`. False: it is not, nothing was written; walk again. */
export function update(v: Vcpu, slot: usize, old: u64, change: u64, level: i32, stage: u32, ia: u64): bool {
  const next = old ^ change;
  if (!exchange(v, slot, old, next)) return false;
  const young = (change & AF) != 0;
  const dirty = (change & ~AF) != 0;
  if (young) count(v, stage == 2 ? AF_STAGE2 : AF_STAGE1);
  if (dirty) count(v, stage == 2 ? DIRTY_STAGE2 : DIRTY_STAGE1);
  if (v.events & UPDATES) logStep(v, HW_UPDATE, stage, level, <u32>young | <u32>dirty << 1, slot, next, ia);
  return true;
}
