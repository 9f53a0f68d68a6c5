/** A vCPU's place in the engine: its pointer while it is open, and its page of state (STATE offsets). */
import { type Core, STATE } from "./_abi.ts";
import { type Context, disposed } from "./_context.ts";
import { type VirtualAddress, virtualAddress } from "./access.ts";
import { Fault } from "./fault.ts";

/** Bytes of the state page that are read from outside. */
const STATE_BYTES = 512;
const HALF = 2 ** 32;

export class VcpuCore {
  readonly context: Context;
  readonly core: Core;
  /** Number of the vCPU, by which its events name it. */
  readonly number: number;
  /** 0 after its end. No private field: {@link VcpuAccesses.cpu} says why. */
  private place: number;
  #buffer: ArrayBufferLike;
  #words: Uint32Array;
  #registers: BigUint64Array;

  constructor(context: Context, pointer: number) {
    this.context = context;
    this.core = context.core;
    this.number = context.core.vcpu_number(pointer);
    this.place = pointer;
    this.#buffer = context.memory.buffer;
    this.#words = new Uint32Array(this.#buffer, pointer, STATE_BYTES / 4);
    this.#registers = new BigUint64Array(this.#buffer, pointer, STATE_BYTES / 8);
    context.add(this);
  }

  /** The core's pointer. @throws Stage2Error `DISPOSED` */
  get pointer(): number {
    if (this.place === 0) throw disposed("vCPU");
    return this.place;
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

  get pstate(): number {
    return this.words[STATE.PSTATE / 4] as number;
  }

  /** Writes a field of PSTATE, and takes it over. */
  setPstate(mask: number, bits: number): void {
    this.words[STATE.PSTATE / 4] = (this.pstate & ~mask) | bits;
    this.configure();
  }

  /** Checks an address and puts it into the argument block, with no bigint made of a number. */
  setAddress(va: VirtualAddress): void {
    const checked = virtualAddress(va);
    if (typeof checked === "bigint") return this.context.setArgument(0, checked);
    const halves = this.context.args32;
    halves[0] = checked; // stored modulo 2^32
    halves[1] = Math.floor(checked / HALF);
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

  /** Ends with its engine: no other thread could use it. @internal */
  close(): void {
    if (this.place === 0) return;
    this.core.vcpu_destroy(this.place);
    this.place = 0;
  }

  dispose(): void {
    this.close();
    this.context.remove(this);
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
