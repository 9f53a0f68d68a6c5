// @ts-check
/**
 * The hypervisor: it has mapped nothing, and gives the guest each page when the guest first faults on it. It also stands
 * in for a UART.
 */
import { Prot, decodeSyndrome } from "stage2";
import { hex } from "./cpu.mjs";
import { CALL, RAM, UART } from "./guest.mjs";

/** @typedef {import("./cpu.mjs").Cpu} Cpu */
/** @typedef {import("stage2").Fault} Fault */

const PAGE = 4096;
/** The guest's RAM: 1 MiB, which the guest sees at {@link RAM} and the host has here. */
export const HOST_RAM = 0x8_0000_0000;
export const RAM_SIZE = 0x10_0000;

/** Serves the guest's stage-2 faults, emulates its UART, and writes down what happened. */
export class Hypervisor {
  /** @type {string[][]} rows of the story: instruction, access, fault, what was done */
  story = [];
  /** What the guest printed. */
  output = "";
  /** @type {number | undefined} the guest's last call */
  verdict;
  #nextPage = HOST_RAM;

  /** @param {import("stage2").Engine} engine @param {import("stage2").Stage2} s2 @param {Uint8Array} image what RAM begins with */
  constructor(engine, s2, image) {
    this.engine = engine;
    this.s2 = s2;
    this.image = image;
  }

  /** A fault that came to EL2. @param {Cpu} cpu @param {Fault} fault */
  abort(cpu, fault) {
    const { ipa = 0 } = fault;
    if (ipa === UART) return this.#emulateUart(cpu, fault);
    if (ipa < RAM || ipa >= RAM + RAM_SIZE) throw new Error(`nothing there: ${fault}`);
    this.#tell(cpu, fault, this.#serve(ipa - (ipa % PAGE), fault));
  }

  /** Repairs the guest's page, so that it can try again. @param {number} ipa @param {Fault} fault */
  #serve(ipa, fault) {
    const needs = neededBy(fault);
    switch (fault.type) {
      case "translation": {
        const pa = this.#givePage(ipa);
        this.s2.map({ ipa, size: PAGE, pa, prot: needs });
        return `maps ${hex(pa)} ${words(needs)}`;
      }
      case "permission":
        this.s2.relaxPerms({ ipa, prot: needs });
        return `allows ${words(needs)}`;
      case "accessFlag":
        this.s2.mkyoung(ipa);
        return "marks it used";
      default:
        throw new Error(`cannot serve: ${fault}`);
    }
  }

  /** A host page with what belongs at this guest address: of the image, then zeros. @param {number} ipa */
  #givePage(ipa) {
    const pa = this.#nextPage;
    this.#nextPage += PAGE;
    const content = this.image.subarray(ipa - RAM, ipa - RAM + PAGE);
    this.engine.memoryMap.bytes(pa, PAGE).set(content);
    return pa;
  }

  /** A store to the UART prints the byte in the register that the syndrome names. @param {Cpu} cpu @param {Fault} fault */
  #emulateUart(cpu, fault) {
    const { isv, write, register } = decodeSyndrome(fault.esr);
    if (!isv || !write) throw new Error(`the UART takes plain stores only: ${fault}`);
    const letter = String.fromCharCode(Number(cpu.x[register] & 0xffn));
    this.output += letter;
    this.#tell(cpu, fault, `UART prints ${JSON.stringify(letter)}`);
    cpu.pc += 4n; // done in its place
  }

  /** HVC. @param {Cpu} cpu @param {import("./cpu.mjs").Trap} trap */
  call(cpu, { immediate }) {
    if (immediate !== CALL.AGE) {
      this.verdict = immediate;
      cpu.stopped = true;
      return;
    }
    const ram = { ipa: RAM, size: RAM_SIZE };
    this.s2.testClearYoung(ram); // whoever uses a page again faults: so it is known which are in use
    this.s2.tlbFlushRange(ram);
    this.story.push([hex(cpu.pc), "HVC", "", "takes every access flag away"]);
  }

  /** A fault that the guest serves by itself. @param {Cpu} cpu @param {Fault} fault */
  watch(cpu, fault) {
    this.#tell(cpu, fault, "(the guest's own, to its vector)");
  }

  /** @param {Cpu} cpu @param {Fault} fault @param {string} done */
  #tell(cpu, fault, done) {
    const { type, stage, level, ipa = 0, s1ptw } = fault;
    const what = fault.fetch ? "fetch" : fault.write ? "write" : "read";
    const where = s1ptw ? `${hex(fault.va)}, its table ${hex(ipa)}` : hex(fault.va);
    this.story.push([hex(cpu.pc), `${what} ${where}`, `stage ${stage} ${type}, level ${level}`, done]);
  }
}

/** What a page must allow for the access. A walk only reads, whatever it is for. @param {Fault} fault */
function neededBy({ s1ptw, fetch, write }) {
  if (s1ptw) return Prot.R;
  return fetch ? Prot.RX : write ? Prot.RW : Prot.R;
}

/** @param {number} prot */
function words(prot) {
  return (prot & Prot.R ? "r" : "-") + (prot & Prot.W ? "w" : "-") + (prot & Prot.X ? "x" : "-");
}
