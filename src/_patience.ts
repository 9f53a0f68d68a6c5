/** How this thread waits for others: whether it may block, and for how long at most. */
import type { Mode } from "./_load.ts";
import { integerOption } from "./range.ts";

/** Milliseconds that a thread waits for another before it says which. */
export const DEFAULT_PATIENCE = 2000;
/** Looks at a word before a thread blocks: a few microseconds, what most locks are held for. */
export const SPINS = 1000;

/** Checked milliseconds. @throws Stage2Error `BAD_OPTION` */
export function checkedPatience(value: unknown = DEFAULT_PATIENCE): number {
  return integerOption("patience", value, 10, 600_000);
}

/**
 * Whether this thread may block: workers may, the main thread of a browser may not. Over a plain memory there is nobody to
 * wait for, and waiting is no instruction of it.
 */
export function mayBlock(mode: Mode): boolean {
  if (mode === "single") return false;
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0);
    return true;
  } catch {
    return false; // TypeError: this agent cannot suspend (ECMA-262, AgentCanSuspend)
  }
}
