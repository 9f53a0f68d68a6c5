/**
 * What happened to one entry in a schedule, from the steps that were taken. An invariant sees one moment and remembers nothing;
 * what was there before, and how it went, is told here when the schedule has ended.
 */
import type { Event } from "../../../src/explorer/event.ts";
import { ACCESS } from "../../../src/instrument/step.ts";
import { BIT, isValid, outputOf, say } from "./support.ts";

/** A step that changed the entry. */
export interface Change {
  /** Number of the agent, in the order of the test. */
  readonly agent: number;
  readonly before: bigint;
  readonly after: bigint;
  /** What the agent took the entry for: an exchange is told what it replaces, a store goes by what was read last. */
  readonly known: bigint | undefined;
}

/** The steps that changed the 8 bytes at `pointer`, from all that looked at them. */
export function changesOf(events: readonly Event[], pointer: number): Change[] {
  const known = new Map<number, bigint>();
  const changes: Change[] = [];
  for (const { agent, stop, start, write, before: was, after: is } of events) {
    if (start !== pointer) continue;
    const [before, after] = [wordOf(was), wordOf(is)];
    if (stop.kind !== ACCESS.STORE) known.set(agent, before);
    if (!write) continue;
    changes.push({ agent, before, after, known: known.get(agent) });
    known.set(agent, after);
  }
  return changes;
}

function wordOf([low, high]: readonly [number, number]): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

const BY_HARDWARE = BIT.AF | BIT.W;

/**
 * What must not happen to an entry that hardware may change at any time. Hardware changes its own two bits of a valid entry.
 * Whoever replaces a valid entry knows what was there, to the last flag; and one page makes way for another over an invalid
 * entry.
 */
export function wrongChange(
  changes: readonly Change[],
  hardware: readonly number[],
): string | undefined {
  for (const { agent, before, after, known } of changes) {
    const what = `${say(before)} became ${say(after)}`;
    if (hardware.includes(agent) && (!isValid(before) || ((before ^ after) & ~BY_HARDWARE) !== 0n))
      return `${what} by hardware`;
    if (isValid(before) && known !== before)
      return `${what} by somebody who took it for ${known === undefined ? "anything" : say(known)}`;
    if (isValid(before) && isValid(after) && outputOf(before) !== outputOf(after))
      return `${what} with no break between`;
  }
  return undefined;
}
