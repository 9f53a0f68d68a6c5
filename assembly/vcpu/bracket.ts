/**
 * The bracket in which JavaScript may use the addresses that a vCPU gave it. The thread's slot says which vCPU is inside and
 * up to where it has caught up with the TLB invalidation log; who has invalidated something waits for it (sync/completion.ts).
 * A translation in between applies what was logged to the TLB, but says nothing here: only enter and poll speak for the
 * addresses that the caller still has.
 */
import { EBUSY, EDEADLK } from "../errno";
import { setInside, setResult, thread, T_BRACKET } from "../layout";
import { holdsNothing } from "../sync/lock";
import { head } from "../tlbi";
import { applyInvalidations } from "./invalidate";
import { derived, Vcpu } from "./state";

// @ts-ignore: decorator
@inline function inside(): u64 { return load<u64>(thread, T_BRACKET); }

// @ts-ignore: decorator
@inline function publish(number: u32, position: u32): void {
  atomic.store<u64>(thread, <u64>number << 32 | position, T_BRACKET);
}

/**
 * How many invalidations were applied; -EBUSY: another vCPU of this thread is inside, its number in result 0; -EDEADLK: the
 * thread has a lock, whose next owner may wait for this very bracket.
 */
export function enterBracket(v: Vcpu): i32 {
  if (!holdsNothing()) return -EDEADLK;
  const number = derived(v).number;
  const other = <u32>(inside() >> 32);
  if (other && other != number) {
    setResult(0, other);
    return -EBUSY;
  }
  if (!other) publish(number, head());
  setInside(true);
  return <i32>pollBracket(v);
}

/** Catches up; outside the bracket only the TLB does. */
export function pollBracket(v: Vcpu): u32 {
  const d = derived(v);
  const position = head();
  const applied: u32 = d.hasTlb && position != d.seen ? applyInvalidations(v) : 0;
  const bracket = inside();
  if (<u32>(bracket >> 32) == d.number && <u32>bracket != position) publish(d.number, position);
  return applied;
}

export function exitBracket(v: Vcpu): void {
  if (<u32>(inside() >> 32) != derived(v).number) return;
  atomic.store<u64>(thread, 0, T_BRACKET);
  setInside(false);
}
