// @ts-check
/**
 * A guest without a processor: all it does is loads and stores of its vCPU. It counts in a table at places that look random, and
 * prints a letter of its ROM now and then. What it knows is in its memory and registers, so it goes on wherever they are.
 */
import { Fault } from "stage2";

export const PAGE = 4096;
/** Memory: 1,024 pages. A table of words takes all of it. */
export const RAM = { slot: 0, ipa: 0x4000_0000, size: 1024 * PAGE };
/** Memory that may not be written: a text of 16 letters. */
export const ROM = { slot: 1, ipa: 0x0800_0000, size: PAGE };
/** Devices: one that the embedder emulates, one that the hypervisor has itself. */
export const UART = 0x0900_0000;
export const CLOCK = 0x0901_0000;

/** Registers: steps made, the state of chance. */
const STEPS = 19;
const CHANCE = 20;
const EVERY = 1024;

export class Guest {
  #vcpu;
  #exit;

  /**
   * @param {import("stage2").VmVcpu} vcpu
   * @param {(exit: import("stage2").Exit) => void} exit what the vCPU needs its embedder for
   */
  constructor(vcpu, exit) {
    this.#vcpu = vcpu;
    this.#exit = exit;
  }

  /** Runs for some steps. @param {number} steps @param {number} window words of the table that it works on */
  run(steps, window = RAM.size / 4) {
    const { x } = this.#vcpu;
    for (const end = this.steps + steps; this.steps < end; x[STEPS]++) {
      x[CHANCE] = (x[CHANCE] * 1_103_515_245n + 12_345n) & 0x7fff_ffffn;
      const word = RAM.ipa + (Number(x[CHANCE]) % window) * 4;
      this.store(word, this.load(word) + 1);
      if (this.steps % EVERY === 0)
        this.store(UART, this.load(ROM.ipa + ((this.steps / EVERY) % 16) * 4));
    }
  }

  /** Steps that it has made, wherever it was. */
  get steps() {
    return Number(this.#vcpu.x[STEPS]);
  }

  /** LDR W0, [address] @param {number} address @returns {number} */
  load(address) {
    const { cpu, x } = this.#vcpu;
    const result = this.#vcpu.run(() => described(cpu.read32(address)));
    if (typeof result === "number") return result;
    this.#exit(result);
    return Number(x[0]); // a device has answered
  }

  /** STR W0, [address] @param {number} address @param {number} value */
  store(address, value) {
    const { cpu, x } = this.#vcpu;
    x[0] = BigInt(value);
    const result = this.#vcpu.run(() => described(cpu.write32(address, value)));
    if (result !== undefined) this.#exit(result);
  }
}

/**
 * The access, described as its instruction would be, for devices. @template T @param {T | Fault} result @returns {T | Fault}
 */
function described(result) {
  return result instanceof Fault ? result.withSyndrome({ size: 4, register: 0 }) : result;
}
