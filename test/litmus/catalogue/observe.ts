/**
 * What programs tell each other, by accesses that the scheduler sees: a search that leaves out schedules which differ only in
 * the order of independent steps knows nothing of JavaScript variables, so "before" and "after" must be read from memory.
 */
import { EVENT_RECORD, RECORD_BYTES } from "../../../src/_abi.ts";
import type { Agent, Lab } from "../../../src/explorer/litmus.ts";
import { NO_TLB } from "./support.ts";

/** One call of the core. */
export type Call = () => number | void;
/** A piece of a program that ends with a value. */
export type Part<T = void> = Generator<Call, T, number>;

/** Far above what a small engine has: as a budget it forbids nothing. */
const OPEN = 1_000_000;

/**
 * A word that every thread may set and read in one step; 0 at the start. It is the one that limits table pages, at values
 * that limit nothing: no other pair of calls is just one store and one load.
 */
export function raiseFlag({ core }: Agent, value = 1): Call {
  return () => core.pool_set_budget(OPEN + value);
}

/** Reads what the flag is now. */
export function* flag({ core }: Agent): Part<number> {
  const word = yield () => core.pool_budget();
  return Math.max(0, word - OPEN);
}

/** A CPU of this agent's thread without any translation: software that loads and stores guest memory by physical address. */
export function software(agent: Agent): number {
  return agent.engine.vcpu(undefined, NO_TLB).cpu.pointer;
}

/** Kind of fault that a load, store or translation of a vCPU failed with (FAULT, without the level); undefined: it worked. */
export function faultOf(result: number): number | undefined {
  return result < 0 ? (-1 - result) & ~3 : undefined;
}

/** One record of the event ring. */
export interface Logged {
  readonly kind: number;
  readonly level: number;
  readonly aux: number;
  readonly n: number;
  readonly a: number;
  readonly b: bigint;
}

/** What is in the event ring, oldest first; it stays there. */
export function logged({ core }: Agent, lab: Lab): readonly Logged[] {
  const ring = core.events_pointer() >>> 0;
  const capacity = core.events_capacity();
  const tail = core.events_tail();
  return Array.from({ length: core.events_count() }, (_, index) => {
    const record = ring + ((tail + index) % capacity) * RECORD_BYTES;
    const word = lab.read32(record);
    return {
      kind: word & 0xff,
      level: (word << 16) >> 24,
      aux: word >>> 16,
      n: lab.read32(record + EVENT_RECORD.N),
      a: Number(lab.read64(record + EVENT_RECORD.A)),
      b: lab.read64(record + EVENT_RECORD.B),
    };
  });
}
