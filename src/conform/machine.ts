/**
 * The engine that vectors are replayed on: one memory, the release core attached to it, and room for a second core of
 * another build beside it. The harness works on the core's ABI itself, because vectors go where the facade refuses to:
 * addresses that wrap, unknown protection bits, entries changed by a foreign hand.
 */
import type { Core } from "../_abi.ts";
import { loadCore } from "../_load.ts";

const WASM_PAGE = 65536;
const BASE = WASM_PAGE;
/** A unit of the pool: the smallest table page. */
const UNIT = 4096;
const UNIT_SHIFT = 12;
/** Pool: 256 MiB. Larger than any vector needs with 64 KiB table pages. */
const UNITS = 65536;
const THREADS = 2;
const OBJECTS = 64;
/** The largest step seen logs 788 000 events; a step that logs more than this is an error. */
const EVENTS = 1 << 21;
const TABLES_AT = 0x4000_0000;
const ARGUMENTS = 16;
const RESULTS = 8;

/** One attached instance of the core, and its argument block. */
export class Seat {
  readonly core: Core;
  readonly #words: BigUint64Array;

  constructor(core: Core, memory: WebAssembly.Memory) {
    this.core = core;
    this.#words = new BigUint64Array(memory.buffer, core.args() >>> 0, ARGUMENTS);
  }

  /** Sets the first words of the argument block. */
  give(...words: bigint[]): void {
    for (const [index, word] of words.entries()) this.#words[index] = word;
  }

  /** Word `index` of the argument block, as an operation left it. */
  argument(index: number): bigint {
    return this.#words[index] as bigint;
  }

  result(index: number): bigint {
    return this.#words[RESULTS + index] as bigint;
  }

  /** A result that is a signed number. */
  signed(index: number): number {
    return Number(BigInt.asIntN(32, this.result(index)));
  }
}

export class Machine {
  readonly memory: WebAssembly.Memory;
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;
  /** Byte range of the table pages. */
  readonly pool: { readonly start: number; readonly end: number };
  /** The instance that the next operation runs on. */
  seat: Seat;
  /** The release core. */
  readonly home: Seat;

  constructor(module?: WebAssembly.Module) {
    const bytes = regionBytes(module);
    const pages = (BASE + bytes) / WASM_PAGE;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    const core = loadCore("threads", this.memory, module);
    const status = core.engine_init(BASE, bytes, TABLES_AT, UNITS, THREADS, OBJECTS, EVENTS, 0);
    if (status < 0) throw new Error(`the engine cannot be laid out: ${status}`);
    attach(core);
    this.u8 = new Uint8Array(this.memory.buffer);
    this.u32 = new Uint32Array(this.memory.buffer);
    this.u64 = new BigUint64Array(this.memory.buffer);
    const start = core.pool_pointer() >>> 0;
    this.pool = { start, end: start + core.pool_capacity() * UNIT };
    this.home = new Seat(core, this.memory);
    this.seat = this.home;
  }

  get core(): Core {
    return this.seat.core;
  }

  /** Runs `work` with operations going to another build of the core, which joins as a thread of its own. */
  onBuild<T>(module: WebAssembly.Module, imports: WebAssembly.ModuleImports, work: () => T): T {
    const env = { memory: this.memory, ...imports };
    const core = new WebAssembly.Instance(module, { env }).exports as unknown as Core;
    attach(core);
    this.seat = new Seat(core, this.memory);
    try {
      return work();
    } finally {
      this.seat = this.home;
      core.engine_detach();
    }
  }

  /** Table pages of `pageShift` in use, whoever uses them. */
  pagesUsed(pageShift: number): number {
    return this.core.pool_used() / 2 ** (pageShift - UNIT_SHIFT);
  }

  /** Whether no page is in use: what a script must leave behind for the next one. */
  get empty(): boolean {
    return this.home.core.pool_used() === 0 && this.home.core.events_count() === 0;
  }
}

function attach(core: Core): void {
  const status = core.engine_attach(BASE);
  if (status < 0) throw new Error(`this build of the core cannot be attached: ${status}`);
}

/** Asks an instance over a scratch memory how large the region must be. */
function regionBytes(module?: WebAssembly.Module): number {
  const scratch = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const core = loadCore("threads", scratch, module);
  const overhead = core.engine_overhead(UNITS, THREADS, OBJECTS, EVENTS);
  return Math.ceil((overhead + UNITS * UNIT) / WASM_PAGE) * WASM_PAGE;
}

/** Whether a result is an errno and not a pointer with the top bit set. */
export function isErrno(result: number): boolean {
  return result < 0 && result >= -4095;
}
