// @ts-check
/**
 * The hypervisor: it has mapped nothing, and gives the guest each page when the guest first faults on it. It also
 * stands in for a UART.
 */
import { Prot, decodeSyndrome } from "stage2";
import { hex } from "./cpu.mjs";
import { CALL, RAM, UART } from "./guest.mjs";

/** @typedef {import("./cpu.mjs").Cpu} Cpu */
/** @typedef {import("stage2").Fault} Fault */

export const PAGE = 4096;
/** The guest's RAM: 1 MiB, which the guest sees at {@link RAM} and the host has here. */
export const HOST_RAM = 0x8_0000_0000;
export const RAM_SIZE = 0x10_0000;

/**
 * What the hypervisor wrote down: where the guest was, the fault that came (none: a call), and what was done.
 *
 * @typedef {{ pc: bigint, fault?: Fault, done: string }} Entry
 */

export class Hypervisor {
  /** @type {Entry[]} */
  story = [];
  /** What the guest printed. */
  output = "";
  /** The guest's last call. @type {number | undefined} */
  verdict;
  #nextPage = HOST_RAM;

  /**
   * @param {import("stage2").Engine} engine
   * @param {import("stage2").Stage2} s2
   * @param {Uint8Array} image what the guest finds at the start of its RAM
   */
  constructor(engine, s2, image) {
    this.engine = engine;
    this.s2 = s2;
    this.image = image;
  }

  /** A fault that came to EL2. @param {Cpu} cpu @param {Fault} fault */
  abort(cpu, fault) {
    const { pc } = cpu;
    const done = fault.ipa === UART ? this.#emulateUart(cpu, fault) : this.#repair(fault);
    this.story.push({ pc, fault, done });
  }

  /** A fault that the guest handles by itself. @param {Cpu} cpu @param {Fault} fault */
  watch({ pc }, fault) {
    this.story.push({ pc, fault, done: "leaves it to the guest" });
  }

  /**
   * HVC: the end, or a wish that no page counts as used. WFI: an end without a verdict, as nothing will wake the guest.
   *
   * @param {Cpu} cpu
   * @param {import("./cpu.mjs").Trap} trap
   */
  call(cpu, { reason, immediate }) {
    if (immediate === CALL.AGE) {
      const ram = { ipa: RAM, size: RAM_SIZE };
      this.s2.testClearYoung(ram);
      this.s2.tlbFlushRange(ram); // else the vCPU would go on with what it knows
      this.story.push({ pc: cpu.pc, done: "clears every access flag" });
    } else {
      this.verdict = reason === "hvc" ? immediate : undefined;
      cpu.stopped = true;
    }
  }

  /**
   * Makes the page fit for the access, which the guest then tries again. For a permission fault cores need not tell the
   * IPA: software for them asks AT S1E1R; the vCPU tells it unless `hpfarOnPermission` says otherwise.
   *
   * @param {Fault} fault
   */
  #repair(fault) {
    const { ipa: address = 0, type } = fault;
    if (address < RAM || address >= RAM + RAM_SIZE) throw new Error(`nothing there: ${fault}`);
    const ipa = address - (address % PAGE);
    const prot = neededBy(fault);
    if (type === "translation") {
      const pa = this.#givePage(ipa);
      this.s2.map({ ipa, size: PAGE, pa, prot });
      return `maps ${hex(pa)} ${words(prot)}`;
    }
    if (type === "permission") {
      this.s2.relaxPerms({ ipa, prot });
      return `allows ${words(prot)}`;
    }
    if (type === "accessFlag") {
      this.s2.mkyoung(ipa);
      return "sets the access flag";
    }
    throw new Error(`beyond repair: ${fault}`);
  }

  /** A host page, with the part of the image that belongs at this guest address. @param {number} ipa */
  #givePage(ipa) {
    const pa = this.#nextPage;
    this.#nextPage += PAGE;
    this.engine.memoryMap.bytes(pa, PAGE).set(this.image.subarray(ipa - RAM, ipa - RAM + PAGE));
    return pa;
  }

  /** A store to the UART prints the register that the syndrome names. @param {Cpu} cpu @param {Fault} fault */
  #emulateUart(cpu, fault) {
    const access = decodeSyndrome(fault.esr).abort?.access;
    if (!access || !fault.write) throw new Error(`the UART takes plain stores only: ${fault}`);
    const letter = String.fromCharCode(Number(cpu.x[access.register] & 0xffn));
    this.output += letter;
    cpu.pc += 4n; // the store is done
    return `prints ${JSON.stringify(letter)}`;
  }
}

/** What the page must allow. A walk only reads its tables, whatever it is for. @param {Fault} fault */
function neededBy({ s1ptw, fetch, write }) {
  if (s1ptw) return Prot.R;
  return fetch ? Prot.RX : write ? Prot.RW : Prot.R;
}

/** @param {number} prot */
function words(prot) {
  return (prot & Prot.R ? "r" : "-") + (prot & Prot.W ? "w" : "-") + (prot & Prot.X ? "x" : "-");
}
