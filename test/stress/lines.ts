/**
 * Cache lines between two threads, counted without a clock: two instrumented instances on one memory run by turns, and
 * every access is looked at as a coherence protocol would. A line moves when a thread touches what the other wrote since it
 * had it, or writes what the other has: the cost of sharing, real or false, the same on every machine.
 */
import { instrumented } from "virtual:stage2-instrumented";
import type { Core } from "../../src/_abi.ts";
import { Engine, type Stage2 } from "../../src/index.ts";
import { ACCESS, type Access, stepImports } from "../../src/instrument/step.ts";

const BASE = 65_536;
const REGION = 16 * 2 ** 20;
const UNITS = 2048;
const THREADS = 2;
const OBJECTS = 16;
const EVENTS = 16;
const TABLES_AT = 2 ** 30;
const LINE_SHIFT = 6;
const WRITES: readonly number[] = [
  ACCESS.STORE,
  ACCESS.READ_MODIFY_WRITE,
  ACCESS.COMPARE_EXCHANGE,
  ACCESS.FILL,
  ACCESS.COPY_TO,
];

/** A thread of the bench: its instance, engine, and the page table. */
export interface Side {
  readonly core: Core;
  readonly engine: Engine;
  readonly s2: Stage2;
}

/** Two threads on one page table. */
export class Lines {
  readonly sides: readonly [Side, Side];
  /** Which threads have each line as it is now. */
  readonly #holders = new Map<number, Set<number>>();
  #moves = 0;

  constructor() {
    const pages = (BASE + REGION) / 65_536;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    const module = new WebAssembly.Module(Buffer.from(instrumented, "base64"));
    const attach = (thread: number): Engine => {
      const env = { memory, ...stepImports((access) => this.#see(thread, access)) };
      const core = new WebAssembly.Instance(module, { env }).exports as unknown as Core;
      const status = thread === 0 ? layOut(core) : 0;
      if (status < 0 || core.engine_attach(BASE) !== thread) throw new Error("no engine");
      return Engine.over(core, memory, module, BASE);
    };
    const [first, second] = [attach(0), attach(1)];
    const s2 = first.stage2({ locking: true });
    const handle = { ...s2.handle, engine: second.handle.id };
    void first.handle; // from now on it is shared
    this.sides = [
      { core: first.core, engine: first, s2 },
      { core: second.core, engine: second, s2: second.attachStage2(handle) },
    ];
  }

  /** Lines that move in each operation, where both threads do `turns` of them by turns. */
  moves(turns: number, operation: (side: Side, thread: number, turn: number) => void): number {
    const round = (turn: number): void => {
      for (const [thread, side] of this.sides.entries()) operation(side, thread, turn);
    };
    const warm = 8;
    for (let turn = 0; turn < warm; turn++) round(turn);
    this.#moves = 0;
    for (let turn = warm; turn < warm + turns; turn++) round(turn);
    return this.#moves / (2 * turns);
  }

  dispose(): void {
    const [first, second] = this.sides;
    for (const { s2 } of [second, first]) s2.dispose();
    for (const { engine } of [second, first]) engine.dispose();
  }

  #see(thread: number, { address, bytes, kind }: Access): void {
    if (kind === ACCESS.FENCE) return;
    const writes = WRITES.includes(kind);
    const last = (address + Math.max(bytes, 1) - 1) >>> LINE_SHIFT;
    for (let line = address >>> LINE_SHIFT; line <= last; line++) this.#touch(thread, line, writes);
  }

  #touch(thread: number, line: number, writes: boolean): void {
    const holders = this.#holders.get(line) ?? new Set();
    if (holders.size === 0) this.#holders.set(line, holders);
    const others = holders.size > (holders.has(thread) ? 1 : 0);
    if (others && (writes || !holders.has(thread))) this.#moves++;
    if (writes) holders.clear();
    holders.add(thread);
  }
}

function layOut(core: Core): number {
  return core.engine_init(BASE, REGION, TABLES_AT, UNITS, THREADS, OBJECTS, EVENTS, 0);
}
