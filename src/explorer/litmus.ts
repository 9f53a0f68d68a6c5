/**
 * What a litmus test says: a start, a few agents that make real calls of the core beside each other, and what must never
 * be seen at the end, in whatever order their accesses to the shared memory happen.
 *
 *   setup (once) ──> memory is remembered ──> run: one schedule ──> forbidden()? ──> memory is put back ──> run ...
 */
import type { Core } from "../_abi.ts";
import type { GuestRam } from "../_guest_ram.ts";
import type { Engine } from "../engine.ts";
import type { Stage2 } from "../stage2.ts";
import type { Event } from "./event.ts";

/** One thread of the test: its own instance of the core on the shared memory, with a thread slot. */
export interface Agent {
  readonly name: string;
  readonly engine: Engine;
  readonly core: Core;
  /** Number of its thread slot. */
  readonly thread: number;
}

/**
 * What one agent does: each yielded function makes exactly one call of `agent.core`, whose result is sent back in. It
 * may be entered again when the agent goes on after a stop, so its arguments are constants. Nothing else may touch the
 * shared memory between two yields.
 */
export type Program = Generator<() => number | void, void, number>;

/** One schedule of a test. */
export interface Run {
  /** By agent name. An agent without a program does nothing. */
  readonly programs: Readonly<Record<string, Program>>;
  /** At the end of every schedule, with the steps that led there: what must never be, as a sentence. */
  readonly forbidden: (events: readonly Event[]) => string | undefined;
  /**
   * After every step; cheap, and looks only, by `lab`. It sees every value that a word ever has; what it tells of several words
   * together is told of some orders only, as schedules that differ in the order of independent steps are explored once.
   */
  readonly invariant?: () => string | undefined;
}

export interface LitmusOptions {
  readonly guestRam?: GuestRam | readonly GuestRam[];
  /** Table pages of 4 KiB that the engine has. Default 32. */
  readonly tablePages?: number;
  /** The most preemptions that the bounded search tries. Default 3. */
  readonly preemptions?: number;
  /** A schedule that does not end is no failure. */
  readonly allowLivelock?: boolean;
  /** A schedule in which every agent waits for another is no failure; `forbidden` is asked then too. */
  readonly allowDeadlock?: boolean;
}

// Methods, not properties: a test of a particular world is a test.
export interface Litmus<W = unknown> {
  /** "L2". */
  readonly name: string;
  /** What it asks. */
  readonly title: string;
  readonly agents: readonly string[];
  /** The start state. Called once for each build, not scheduled. */
  setup(agents: Readonly<Record<string, Agent>>, lab: Lab): W;
  /** New programs for each schedule. */
  run(world: W, agents: Readonly<Record<string, Agent>>, lab: Lab): Run;
  /** Names of mutants, each of which this test must catch. */
  readonly mutants: readonly string[];
  readonly options?: LitmusOptions;
}

/** The test's own view of the memory: for the start state and for checks. Never scheduled. */
export interface Lab {
  readonly memory: WebAssembly.Memory;
  /** Gives `bytes` bytes at `address` a name in traces. */
  name(address: number, bytes: number, label: string): void;
  /** Pointer to the entry of this page table that decides `ipa` now. */
  entry(table: Pick<Stage2, "pointer">, ipa: number): number;
  /** Pointer to the bytes behind a physical address: guest memory or a table page. */
  pointer(pa: number): number;
  read64(pointer: number): bigint;
  read32(pointer: number): number;
  write64(pointer: number, value: bigint): void;
  write32(pointer: number, value: number): void;
}

/** A test as the catalogue lists it. */
export function litmus<W>(test: Litmus<W>): Litmus {
  return test;
}
