// @ts-check
/**
 * The processor: registers, flags, exceptions, and the loop around the instructions of isa.mjs. It has no MMU of its
 * own: every fetch, load and store goes through a vCPU of the library, which answers with the value or with the fault
 * that a core would take.
 *
 * Left out: interrupts, 32-bit arithmetic, floating point, SP_EL0, PSTATE beyond EL and NZCV, checks that EL0 may use
 * an instruction. What isa.mjs does not have ends the run with an error.
 */
import { Fault } from "stage2";
import { NAMES, decode } from "./isa.mjs";

/** ESR of SVC: exception class 0x15, a 32-bit instruction. */
const SVC = 0x5600_0000n;
/** SCTLR_EL1 after reset: MMU and caches off; the bits that are always one. */
const SCTLR_RESET = 0x30d0_0800n;
/** SPSR.M: EL1 with its own stack pointer. */
const EL1H = 5n;

/**
 * Who is called when the guest cannot go on by itself.
 *
 * @typedef {object} Hypervisor
 * @property {(cpu: Cpu, fault: Fault) => void} abort a fault came to EL2; the guest tries again, unless `cpu.pc` moves
 * @property {(cpu: Cpu, trap: Trap) => void} call HVC or WFI; the guest goes on behind it
 * @property {(cpu: Cpu, fault: Fault) => void} [watch] told of a fault that the guest takes itself
 *
 * @typedef {{ reason: "hvc" | "wfi", immediate: number }} Trap
 */

export class Cpu {
  /** X0 to X30, the zero register, SP. An array of u64: arithmetic wraps by itself. */
  x = new BigUint64Array(33);
  pc = 0n;
  /** The instruction after this one: a branch, or an exception, changes it. */
  next = 0n;
  /** The flags N, Z, C and V, in bits 3 to 0. */
  nzcv = 0n;
  /** Instructions that came to their end. */
  retired = 0;
  /** Set by the hypervisor to end {@link run}. */
  stopped = false;
  /** System registers that the MMU has no part in. @type {Record<string, bigint>} */
  system = { vbar_el1: 0n, esr_el1: 0n, far_el1: 0n, elr_el1: 0n, spsr_el1: 0n };
  /** @type {Trap | undefined} */
  #trap;

  /** @param {import("stage2").Vcpu} vcpu @param {Hypervisor} hypervisor */
  constructor(vcpu, hypervisor) {
    this.vcpu = vcpu;
    this.hypervisor = hypervisor;
    vcpu.el = 1;
    vcpu.setRegisters({ sctlrEl1: SCTLR_RESET });
  }

  /** Runs until the hypervisor stops it. @param {number} [limit] attempts at an instruction; more are an error */
  run(limit = 100_000) {
    for (let attempts = 0; !this.stopped;) {
      /** @type {Fault | Trap | undefined} */
      let exit;
      this.vcpu.enter(); // from here to exit() what was translated stays good
      while (exit === undefined) {
        if (++attempts > limit) throw new Error(`no end in ${limit} steps, at ${hex(this.pc)}`);
        this.vcpu.poll(); // here TLB invalidations by others take effect
        exit = this.#step();
      }
      this.vcpu.exit();
      this.vcpu.clearExclusive(); // as the hypervisor's ERET does
      if (exit instanceof Fault) this.hypervisor.abort(this, exit);
      else this.hypervisor.call(this, exit);
    }
  }

  /** One instruction. What the hypervisor must see to, if anything. */
  #step() {
    try {
      const word = this.done(this.vcpu.fetch(this.pc));
      const instruction = decode(word);
      if (!instruction) throw new Error(`no instruction: ${hex(word)}, at ${hex(this.pc)}`);
      this.next = this.pc + 4n;
      this.#trap = undefined;
      instruction.act(this, instruction.fields);
      this.x[31] = 0n;
      this.pc = this.next;
      this.retired++;
      return this.#trap;
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      if (fault.el === 2) return fault;
      this.system.far_el1 = fault.far;
      this.hypervisor.watch?.(this, fault);
      this.pc = this.#exception(fault.esr, this.pc);
      return undefined;
    }
  }

  /** Takes an exception to EL1. Where its vector is. @param {bigint} esr @param {bigint} from */
  #exception(esr, from) {
    const { system, vcpu } = this;
    const mode = vcpu.el === 0 ? 0n : EL1H;
    Object.assign(system, { esr_el1: esr, elr_el1: from, spsr_el1: (this.nzcv << 28n) | mode });
    vcpu.el = 1;
    return system.vbar_el1 + (mode === EL1H ? 0x200n : 0x400n);
  }

  // ---- for the instructions: memory ----------------------------------------------------------------------

  /**
   * The result of an access. A fault ends the instruction here, before it has changed anything.
   *
   * @template T
   * @param {T | Fault} result
   * @returns {T}
   */
  done(result) {
    if (result instanceof Fault) throw result;
    return result;
  }

  /** @param {1 | 4 | 8} size @param {number} t @param {bigint} va */
  load(size, t, va) {
    const { vcpu } = this;
    const read = () =>
      size === 8 ? vcpu.read64(va) : size === 4 ? vcpu.read32(va) : vcpu.read8(va);
    this.x[t] = BigInt(this.done(described(read(), size, t)));
  }

  /** @param {1 | 4 | 8} size @param {number} t @param {bigint} va */
  store(size, t, va) {
    const { vcpu, x } = this;
    if (size === 8) return this.done(described(vcpu.write64(va, x[t]), size, t));
    const low = Number(BigInt.asUintN(8 * size, x[t]));
    const fault = size === 4 ? vcpu.write32(va, low) : vcpu.write8(va, low);
    this.done(described(fault, size, t));
  }

  /** AT S1E1R: the answer stands in PAR_EL1. @param {bigint} va */
  translate(va) {
    this.done(this.vcpu.at("S1E1R", va));
  }

  /** TLBI VAE1: the address is bits 55 to 12 of a VA, the ASID stands above. @param {bigint} operand */
  invalidate(operand) {
    const address = BigInt.asUintN(64, BigInt.asIntN(44, operand) << 12n);
    this.vcpu.tlbi("VAE1", { address, asid: Number(operand >> 48n), local: true });
  }

  // ---- for the instructions: flow, flags, system ---------------------------------------------------------

  /** @param {number} distance in instructions */
  branch(distance) {
    this.next = this.pc + BigInt(4 * distance);
  }

  /** AddWithCarry of the Arm ARM: sets the flags. @type {(x: bigint, y: bigint, carry: bigint) => bigint} */
  addWithCarry(x, y, carry) {
    const unsigned = BigInt.asUintN(64, x) + BigInt.asUintN(64, y) + carry;
    const signed = BigInt.asIntN(64, x) + BigInt.asIntN(64, y) + carry;
    const sum = BigInt.asUintN(64, unsigned);
    const flags = [sum >> 63n, sum === 0n, sum !== unsigned, BigInt.asIntN(64, sum) !== signed];
    this.nzcv = flags.reduce((/** @type {bigint} */ all, flag) => (all << 1n) | BigInt(flag), 0n);
    return sum;
  }

  /** Whether a condition holds: its upper bits name a test, the lowest turns it round. @param {number} condition */
  holds(condition) {
    const [v, c, z, n] = [0n, 1n, 2n, 3n].map((bit) => ((this.nzcv >> bit) & 1n) === 1n);
    const base = [z, c, n, v, c && !z, n === v, n === v && !z, true][condition >> 1];
    return base !== (condition % 2 === 1 && condition !== 15);
  }

  /** @param {number} immediate */
  supervisorCall(immediate) {
    this.next = this.#exception(SVC | BigInt(immediate), this.next);
  }

  exceptionReturn() {
    const { spsr_el1: spsr, elr_el1: elr } = this.system;
    this.nzcv = (spsr >> 28n) & 15n;
    this.vcpu.el = (spsr & 12n) === 0n ? 0 : 1;
    this.next = elr;
  }

  /** @param {Trap["reason"]} reason */
  trap(reason, immediate = 0) {
    this.#trap = { reason, immediate };
  }

  /** @param {number} number */
  readSystem(number) {
    const name = systemRegister(number);
    if (name === "currentel") return BigInt(this.vcpu.el << 2);
    return this.system[name] ?? this.vcpu.registers[ofTheMmu(name)];
  }

  /** @param {number} number @param {bigint} value */
  writeSystem(number, value) {
    const name = systemRegister(number);
    if (name in this.system) this.system[name] = value;
    else this.vcpu.setRegisters({ [ofTheMmu(name)]: value });
  }
}

/** The name of a system register. @param {number} number */
function systemRegister(number) {
  const named = Object.entries(NAMES.g).find((entry) => entry[1] === number);
  if (!named) throw new Error(`no system register: ${hex(number)}`);
  return named[0];
}

/** What the vCPU calls a register: sctlr_el1 is sctlrEl1. @param {string} name */
function ofTheMmu(name) {
  return /** @type {keyof import("stage2").Registers} */ (name.replace("_el1", "El1"));
}

/**
 * A fault with the instruction's part of the syndrome: the size and the register, which an emulator of devices needs.
 *
 * @template T
 * @param {T | Fault} result
 * @param {1 | 4 | 8} size
 * @param {number} register
 * @returns {T | Fault}
 */
function described(result, size, register) {
  if (!(result instanceof Fault)) return result;
  return result.withSyndrome({ size, register, sixtyFour: size === 8 });
}

/** @param {number | bigint} value */
export function hex(value) {
  return `0x${value.toString(16)}`;
}
