/** What a test and its workers say to each other. */
import type { EngineHandle, Stage2Handle } from "../../src/index.ts";

/** What a worker starts with. */
export interface Start {
  readonly engine: EngineHandle;
  readonly s2: Stage2Handle;
  readonly control: Int32Array;
  readonly patience: number;
}

/** One call: an object of the worker, one of its methods (or of the worker's own loops), arguments. */
export interface Call {
  readonly on: "engine" | "s2" | "raw" | "lock" | "vcpu" | "loop";
  readonly method: string;
  readonly args: readonly unknown[];
}

/** What it came to: a value that can be posted, or the error by its parts. */
export interface Answer {
  readonly value?: unknown;
  readonly error?: { code: string; message: string; details: Record<string, unknown> };
}

/** Words of `control`, the memory that a test and its workers talk through while they run. */
export const CONTROL = {
  /** Loops end, and what is parked goes on, when this is 1. */
  STOP: 0,
  /** How many loops run, or are parked. */
  RUNNING: 1,
  /** Counters of the loops. */
  COUNT: 2,
  WRITERS: 3,
  READERS: 4,
  BROKEN: 5,
} as const;
export const CONTROL_WORDS = 8;
