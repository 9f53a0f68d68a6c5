/** Who goes on next: the interface of every way to choose schedules. */
import type { Event } from "./event.ts";
import type { Execution } from "./execution.ts";

/** In place of an agent: what follows is equivalent to a schedule that was seen, leave it. */
export const LEAVE = -1;

export interface Strategy {
  /** Before each schedule: whether there is another. */
  next(): boolean;
  /** The steps that the schedule begins with, if they have been taken before. */
  prefix?(): readonly Event[];
  /** Which agent goes on, of those that are enabled; or {@link LEAVE}. */
  choose(execution: Execution): number;
  /** After each step. */
  stepped?(execution: Execution, event: Event): void;
  /** After each schedule, ended or left. */
  ended?(execution: Execution): void;
}

export function lowest(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}

/** Takes steps until the execution ends: whether it did, and was not left. */
export function drive(execution: Execution, strategy: Strategy): boolean {
  const prefix = strategy.prefix?.();
  if (prefix !== undefined) execution.follow(prefix);
  while (execution.ending === undefined) {
    const agent = strategy.choose(execution);
    if (agent === LEAVE) break;
    const event = execution.step(agent);
    strategy.stepped?.(execution, event);
  }
  strategy.ended?.(execution);
  return execution.ending !== undefined;
}
