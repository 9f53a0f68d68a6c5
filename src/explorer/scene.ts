/**
 * A shared memory with agents on it, which can be put back to how it was. It sees every access of every agent, and finds
 * out which words agents really share: those that one of them may write and another touches. Only there does it matter
 * who comes first, so only there do schedules branch.
 *
 *   word    readers  writers  shared
 *   entry   01       10       yes      -> agents stop before they touch it
 *   scratch 01       01       no       -> passed over
 */
import { Coroutine } from "../agents/coroutine.ts";
import { type Stop, mayWrite } from "../agents/stop.ts";
import { ACCESS, ATOMIC } from "../instrument/step.ts";

const PAGE_SHIFT = 12;
const NOBODY = -1;
/** In place of an agent's bit: the test itself looks at the word after every step. */
const OBSERVER = 128;

/** Nanoseconds, about: what an access that needs no stop costs. */
export const UNIT_OF_WORK = 50;
const WORK_OF_STOP = 40;
const WORK_OF_SCHEDULE = 800;

/** Thrown through the core to end a call that goes on for ever. */
export class Endless extends Error {}

/** Further imports of the build, from a look whether an agent's program runs now. */
export type Imports = (scheduled: () => boolean) => WebAssembly.ModuleImports;

export interface SceneOptions {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly names: readonly string[];
  readonly imports?: Imports | undefined;
  /** Most accesses of all agents in one schedule. */
  readonly mostAccesses?: number;
}

export class Scene {
  readonly memory: WebAssembly.Memory;
  readonly names: readonly string[];
  readonly coroutines: readonly Coroutine[];
  /** How many words are known to be shared. Grows while schedules run. */
  sharedWords = 0;
  /** Stop at every access, also where only one agent ever is. */
  everywhere = false;
  /** The agent that runs now. */
  current = NOBODY;
  /** Work done so far, in units of about {@link UNIT_OF_WORK}. A count, so that the same search does the same anywhere. */
  work = 0;
  /** Whether the test looks at the memory between two steps. */
  observing = false;
  /** How many more places where the agent should stop it passes over. */
  pass = 0;
  readonly words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #readers: Uint8Array;
  readonly #writers: Uint8Array;
  readonly #shared: Uint8Array;
  readonly #changed: Uint8Array;
  readonly #changedPages: number[] = [];
  readonly #announced: number[];
  readonly #mostAccesses: number;
  #left: number;
  #start: Uint8Array;
  #variables: readonly (readonly unknown[])[] = [];

  constructor(options: SceneOptions) {
    const { memory, names } = options;
    this.memory = memory;
    this.names = names;
    this.words = new Int32Array(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#readers = new Uint8Array(this.words.length);
    this.#writers = new Uint8Array(this.words.length);
    this.#shared = new Uint8Array(this.words.length);
    this.#changed = new Uint8Array(this.#bytes.length >>> PAGE_SHIFT);
    this.#announced = names.map(() => 0);
    this.#mostAccesses = options.mostAccesses ?? 400_000;
    this.#left = this.#mostAccesses;
    this.#start = new Uint8Array(0);
    const { module } = options;
    const imports = options.imports?.(() => this.current !== NOBODY) ?? {};
    const stopsAt = (address: number, bytes: number, kind: number): boolean =>
      this.#meets(address, bytes, kind);
    this.coroutines = names.map(
      (_, number) => new Coroutine({ module, memory, number, stopsAt, imports }),
    );
  }

  /** What is there now is the start of every schedule. */
  remember(): void {
    this.#start = this.#bytes.slice();
    this.#variables = this.coroutines.map((coroutine) => coroutine.variables);
    this.#forgetChanges();
  }

  /** Puts back what changed since {@link remember}, and drops every call. */
  restore(): void {
    for (const page of this.#changedPages) {
      const from = page << PAGE_SHIFT;
      if (from >= this.#start.length) continue; // announced by a wild access, which then failed
      this.#bytes.set(this.#start.subarray(from, from + (1 << PAGE_SHIFT)), from);
    }
    this.#forgetChanges();
    for (const [index, coroutine] of this.coroutines.entries()) {
      coroutine.abandon();
      coroutine.variables = this.#variables[index] as readonly unknown[];
    }
    this.work += WORK_OF_SCHEDULE;
    this.#announced.fill(0);
    this.#left = this.#mostAccesses;
    this.current = NOBODY;
    this.pass = 0;
  }

  /** Accesses that an agent has announced so far: all but the last are done if it is stopped. */
  announced(agent: number): number {
    return this.#announced[agent] as number;
  }

  /** Whether agents share any of these bytes, as far as is known. */
  isShared(address: number, bytes: number): boolean {
    const end = (address + bytes + 3) >>> 2;
    for (let word = address >>> 2; word < end; word++) if (this.#shared[word] === 1) return true;
    return false;
  }

  /** Says that somebody changed memory behind the agents' backs. */
  changed(address: number, bytes: number): void {
    const last = (address + bytes - 1) >>> PAGE_SHIFT;
    for (let page = address >>> PAGE_SHIFT; page <= last; page++) {
      if (this.#changed[page] === 1) continue;
      this.#changed[page] = 1;
      this.#changedPages.push(page);
    }
  }

  /** The test reads: if between two steps, whoever writes there shares the word with it. */
  looksAt(address: number, bytes: number): void {
    if (this.observing) this.#learn(OBSERVER, address, bytes, false);
  }

  /** Counts a stop to wait or to wake, which no access announces. */
  meetsWait(agent: number, stop: Stop): void {
    this.#announced[agent] = this.announced(agent) + 1;
    this.#learn(1 << agent, stop.address, stop.bytes, false);
  }

  /** A waiting agent is another step on: it has been woken. */
  wakes(agent: number): void {
    this.#announced[agent] = this.announced(agent) + 1;
  }

  #meets(address: number, bytes: number, kind: number): boolean {
    const writes = mayWrite(kind);
    this.work++;
    if (writes) this.changed(address, bytes);
    const agent = this.current;
    const what = kind & ~ATOMIC;
    if (agent === NOBODY || what === ACCESS.FENCE) return false;
    if (--this.#left < 0) throw new Endless("too many accesses");
    const shared = this.#learn(1 << agent, address, bytes, writes);
    if (what === ACCESS.COPY_FROM) return false; // the copy stops once, when both ends are known
    this.#announced[agent] = this.announced(agent) + 1;
    if (!shared && !this.everywhere && what !== ACCESS.COPY_TO) return false;
    if (this.pass > 0) {
      this.pass--;
      return false;
    }
    this.work += WORK_OF_STOP;
    return true;
  }

  #learn(bit: number, address: number, bytes: number, writes: boolean): boolean {
    const end = (address + bytes + 3) >>> 2;
    this.work += bytes >>> 5;
    let shared = false;
    for (let word = address >>> 2; word < end; word++) {
      if (writes) this.#writers[word] = (this.#writers[word] as number) | bit;
      else this.#readers[word] = (this.#readers[word] as number) | bit;
      if (this.#shared[word] === 1) shared = true;
      else if (this.#contended(word)) {
        this.#shared[word] = 1;
        this.sharedWords++;
        shared = true;
      }
    }
    return shared;
  }

  /** Whether one agent may write the word and another touches it. */
  #contended(word: number): boolean {
    const writers = this.#writers[word] as number;
    if (writers === 0) return false;
    const all = writers | (this.#readers[word] as number);
    return (all & (all - 1)) !== 0;
  }

  #forgetChanges(): void {
    for (const page of this.#changedPages) this.#changed[page] = 0;
    this.#changedPages.length = 0;
  }
}
