/** A vCPU's place in the engine: its pointer while it is open, and its page of state (STATE offsets). */
import { type Core, STATE } from "./_abi.ts";
import { type Context, disposed } from "./_context.ts";
import { Fault } from "./fault.ts";

/** Bytes of the state page that are read from outside. */
const STATE_BYTES = 512;

export class VcpuCore {
  readonly context: Context;
  readonly core: Core;
  #pointer: number;
  #buffer: ArrayBufferLike;
  #words: Uint32Array;
  #registers: BigUint64Array;

  constructor(context: Context, pointer: number) {
    this.context = context;
    this.core = context.core;
    this.#pointer = pointer;
    this.#buffer = context.memory.buffer;
    this.#words = new Uint32Array(this.#buffer, pointer, STATE_BYTES / 4);
    this.#registers = new BigUint64Array(this.#buffer, pointer, STATE_BYTES / 8);
    context.add(this);
  }

  /** The core's pointer. @throws Stage2Error `DISPOSED` */
  get pointer(): number {
    if (this.#pointer === 0) throw disposed("vCPU");
    return this.#pointer;
  }

  /** The state page as 32-bit words. */
  get words(): Uint32Array {
    this.#refresh();
    return this.#words;
  }

  /** The state page as registers. */
  get registers(): BigUint64Array {
    this.#refresh();
    return this.#registers;
  }

  /** Takes over what was written to the state page. */
  configure(): void {
    this.core.vcpu_configure(this.pointer);
  }

  /** What the last access of this vCPU ended with. */
  fault(): Fault {
    const { words, registers } = this;
    return new Fault({
      fsc: words[STATE.FSC / 4] as number,
      stage: words[STATE.STAGE / 4] as number,
      flags: words[STATE.FLAGS / 4] as number,
      esr: registers[STATE.ESR / 8] as bigint,
      far: registers[STATE.FAR / 8] as bigint,
      hpfar: registers[STATE.HPFAR / 8] as bigint,
      ipa: registers[STATE.IPA / 8] as bigint,
    });
  }

  /** @internal */
  close(): void {
    this.#pointer = 0;
  }

  dispose(): void {
    if (this.#pointer === 0) return;
    this.core.vcpu_destroy(this.#pointer);
    this.context.remove(this);
    this.#pointer = 0;
  }

  /** Growing replaces `memory.buffer`, and takes the views away where the memory is not shared. */
  #refresh(): void {
    const { pointer } = this;
    const { buffer } = this.context.memory;
    if (buffer === this.#buffer) return;
    this.#buffer = buffer;
    this.#words = new Uint32Array(buffer, pointer, STATE_BYTES / 4);
    this.#registers = new BigUint64Array(buffer, pointer, STATE_BYTES / 8);
  }
}
