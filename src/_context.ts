/**
 * One thread's access to one engine: the instance of the core, views over the memory, and the objects that live in it.
 * Every object of the facade holds a context; disposing the engine closes them through it.
 */
import type { Core } from "./_abi.ts";
import type { Mode } from "./_load.ts";
import { DEFAULT_PATIENCE, SPINS, mayBlock } from "./_patience.ts";
import { Turns } from "./_turns.ts";
import { Stage2Error } from "./errors.ts";

/** Something that ends when its engine ends. */
export interface Closable {
  /** Refuses every further use, and gives back what no other thread can use. Called with no lock held. */
  close(): void;
}

/** Words of the argument block, and where its results start. */
const ARGUMENT_WORDS = 16;
const RESULTS = 8;

export class Context {
  readonly core: Core;
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  readonly mode: Mode;
  /** The same in every thread that is attached to the engine. */
  readonly id: string;
  /** Physical address of the first table page, and the pointer to it. */
  readonly poolPhysical: number;
  readonly poolPointer: number;
  /** Requests of this thread for locks, that wait without blocking it. */
  readonly turns = new Turns();
  #patience = DEFAULT_PATIENCE;
  readonly #argsPointer: number;
  readonly #objects = new Set<Closable>();
  #buffer: ArrayBufferLike;
  #u8: Uint8Array;
  #u32: Uint32Array;
  #u64: BigUint64Array;
  #args64: BigUint64Array;
  #args32: Uint32Array;

  constructor(core: Core, memory: WebAssembly.Memory, module: WebAssembly.Module, id: string) {
    this.core = core;
    this.memory = memory;
    this.module = module;
    this.mode = isShared(memory) ? "threads" : "single";
    this.id = id;
    this.poolPhysical = core.pool_phys();
    this.poolPointer = core.pool_pointer() >>> 0;
    this.#argsPointer = core.args() >>> 0;
    this.#buffer = memory.buffer;
    this.#u8 = new Uint8Array(this.#buffer);
    this.#u32 = new Uint32Array(this.#buffer);
    this.#u64 = new BigUint64Array(this.#buffer);
    this.#args64 = this.#u64.subarray(0, 0);
    this.#args32 = this.#u32.subarray(0, 0);
    this.#view();
  }

  // Growing replaces `memory.buffer`: every access to a view of the whole memory looks whether it still is the one.
  get u8(): Uint8Array {
    if (this.memory.buffer !== this.#buffer) this.#view();
    return this.#u8;
  }

  get u32(): Uint32Array {
    if (this.memory.buffer !== this.#buffer) this.#view();
    return this.#u32;
  }

  get u64(): BigUint64Array {
    if (this.memory.buffer !== this.#buffer) this.#view();
    return this.#u64;
  }

  /** The argument block as 64-bit words. It lies low: only a plain memory that was grown takes the view away. */
  get args64(): BigUint64Array {
    if (this.#args64.length === 0) this.#view();
    return this.#args64;
  }

  /** The argument block as 32-bit halves, low half first. */
  get args32(): Uint32Array {
    if (this.#args32.length === 0) this.#view();
    return this.#args32;
  }

  /** Result word `index` of the last call. */
  result(index: number): bigint {
    return this.args64[RESULTS + index] as bigint;
  }

  /** Result word `index` as a number: exact below 2^53. */
  resultNumber(index: number): number {
    const words = this.args32;
    const at = (RESULTS + index) * 2;
    return (words[at + 1] as number) * 2 ** 32 + (words[at] as number);
  }

  /** Result word `index` as a signed level. */
  resultLevel(index: number): number {
    return (this.args32[(RESULTS + index) * 2] as number) | 0;
  }

  setArgument(index: number, value: bigint): void {
    this.args64[index] = value;
  }

  /** Physical address of a table page or entry, from its pointer; and back. */
  physical(pointer: number): number {
    return this.poolPhysical + ((pointer >>> 0) - this.poolPointer);
  }

  pointer(physical: number): number {
    return this.poolPointer + (physical - this.poolPhysical);
  }

  /** Whether `physical` lies in the table-page pool. */
  inPool(physical: number): boolean {
    const offset = physical - this.poolPhysical;
    return offset >= 0 && offset < this.core.pool_capacity() * 4096;
  }

  /** Milliseconds that this thread waits for others. */
  get patience(): number {
    return this.#patience;
  }

  /** Tells the core how this thread waits. */
  set patience(ms: number) {
    this.#patience = ms;
    this.core.thread_configure(mayBlock(this.mode) ? 1 : 0, SPINS, ms);
  }

  /** Remembers an object, to be closed with the engine. */
  add(object: Closable): void {
    this.#objects.add(object);
  }

  remove(object: Closable): void {
    this.#objects.delete(object);
  }

  closeAll(): void {
    for (const object of this.#objects) object.close();
    this.#objects.clear();
  }

  #view(): void {
    this.#buffer = this.memory.buffer;
    this.#u8 = new Uint8Array(this.#buffer);
    this.#u32 = new Uint32Array(this.#buffer);
    this.#u64 = new BigUint64Array(this.#buffer);
    this.#args64 = new BigUint64Array(this.#buffer, this.#argsPointer, ARGUMENT_WORDS);
    this.#args32 = new Uint32Array(this.#buffer, this.#argsPointer, ARGUMENT_WORDS * 2);
  }
}

/** Whether the memory can be used by several threads. */
export function isShared(memory: WebAssembly.Memory): boolean {
  return typeof SharedArrayBuffer !== "undefined" && memory.buffer instanceof SharedArrayBuffer;
}

/** The error for an object that was disposed. */
export function disposed(what: string): Stage2Error {
  return new Stage2Error("DISPOSED", `this ${what} was disposed`);
}
