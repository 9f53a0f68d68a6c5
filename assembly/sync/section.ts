/**
 * Sections: stretches in which a thread may hold pointers that others could take away. Each is one counter in the
 * thread's slot, odd inside; who took something away waits for the counters that were odd then to change.
 *
 *   hardware section    a hardware walk, or an access of a vCPU through the page it found: short, waits for nothing
 *   walk section        a software walk that runs beside others: shared walks, lookups, lockless aging, a read side
 *
 * Entering is a sequentially consistent store before the first load of a descriptor, so there are two cases: the section
 * is seen by whoever looks after unlinking, or its loads come after the unlinking and find nothing.
 */
import { shared, thread, T_HARDWARE, T_WALK } from "../layout";

// @ts-ignore: decorator
@inline function enter(word: usize): bool {
  if (!shared) return false;
  const counter = load<u32>(thread + word); // nobody else writes it
  if (counter & 1) return false;
  atomic.store<u32>(thread + word, counter + 1);
  return true;
}

// @ts-ignore: decorator
@inline function leave(word: usize): void { atomic.store<u32>(thread + word, load<u32>(thread + word) + 1); }

/** False: nothing to leave, as this engine is one thread's or the thread is inside already. */
// @ts-ignore: decorator
@inline export function enterHardware(): bool { return enter(T_HARDWARE); }
/** For calls from outside, which never are inside another: a section that is open was left so by a trap, and ends with this. */
export function openHardware(): bool {
  enterHardware();
  return shared;
}
// @ts-ignore: decorator
@inline export function leaveHardware(): void { leave(T_HARDWARE); }
// @ts-ignore: decorator
@inline export function enterWalk(): bool { return enter(T_WALK); }
// @ts-ignore: decorator
@inline export function leaveWalk(): void { leave(T_WALK); }

/** The walk section of a read side, which is kept in an engine of one thread too: it may be shared before the side is left. */
export function enterRead(): void { atomic.store<u32>(thread, load<u32>(thread, T_WALK) + 1, T_WALK); }

// @ts-ignore: decorator
@inline export function insideWalk(): bool { return (load<u32>(thread, T_WALK) & 1) != 0; }
