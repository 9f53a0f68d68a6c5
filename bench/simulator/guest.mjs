// @ts-check
/** A guest and the hypervisor under it: memory that a vCPU loads from and stores to, mapped page by page when it faults. */
import { Fault, Prot, WalkFlag } from "stage2";
import { GIB, PAGE, PARANGE_48, PA_OFFSET } from "../bed.mjs";
import { stage1Bytes, writeStage1 } from "../stage1.mjs";

/** Memory for programs, and where it is for the guest. Its stage-1 tables lie behind. */
export const DATA = { ipa: GIB, size: 2 ** 25 };
const TABLES = DATA.ipa + DATA.size;
const RAM_BYTES = DATA.size + stage1Bytes(DATA.size);
/** Virtual addresses are intermediate physical ones plus this, where stage 1 is on. */
const VA_OFFSET = 2 ** 40;

/** Guest memory for an engine. */
export const GUEST_RAM = { pa: DATA.ipa + PA_OFFSET, size: RAM_BYTES };

/** How a fault handler maps: beside others, and told when to try again. */
const FAULT = WalkFlag.SHARED | WalkFlag.HANDLE_FAULT;

/**
 * @typedef {object} GuestOptions
 * @property {boolean} stage1 with tables of the guest's own, which cover all of DATA
 * @property {boolean} tlb
 */

/**
 * What is in DATA at first: each word holds its number, so that no load of another word goes unnoticed.
 *
 * @param {Uint32Array} words
 */
export function fillFresh(words) {
  for (let i = 0; i < words.length; i++) words[i] = i;
  return words;
}

/** A guest with nothing mapped, and its memory as it is at first. */
export class Guest {
  /** Faults served. */
  faults = 0;

  /**
   * @param {import("stage2").Engine} engine
   * @param {GuestOptions} options
   */
  constructor(engine, { stage1, tlb }) {
    this.memory = engine.memoryMap.bytes(GUEST_RAM.pa, GUEST_RAM.size);
    const { buffer, byteOffset } = this.memory;
    fillFresh(new Uint32Array(buffer, byteOffset, DATA.size / 4));
    this.s2 = engine.stage2({ ipaBits: 40, parange: PARANGE_48 });
    this.vcpu = engine.vcpu(this.s2, tlb ? {} : { tlb });
    /** Virtual address of the first byte of DATA. */
    this.data = DATA.ipa;
    if (!stage1) return;
    this.data += VA_OFFSET;
    const tables = this.memory.subarray(DATA.size).fill(0);
    this.vcpu.setRegisters(writeStage1(tables, { ...DATA, va: this.data, tables: TABLES }));
  }

  /**
   * Loads a word.
   *
   * @param {number} va
   * @returns {number}
   */
  load(va) {
    for (;;) {
      const value = this.vcpu.read32(va);
      if (typeof value === "number") return value;
      this.#serve(value);
    }
  }

  /**
   * Stores a word.
   *
   * @param {number} va
   * @param {number} value
   */
  store(va, value) {
    for (;;) {
      const fault = this.vcpu.write32(va, value);
      if (fault === undefined) return;
      this.#serve(fault);
    }
  }

  /**
   * Maps the page that is missing. The access is made again, and goes on from where it was stuck: with stage 1, that may have
   * been the address of a descriptor.
   *
   * @param {Fault} fault
   */
  #serve(fault) {
    const { ipa, stage, type } = fault;
    if (stage !== 2 || type !== "translation" || ipa === undefined) throw unexpected(fault);
    const page = ipa - (ipa % PAGE);
    if (page < DATA.ipa || page >= DATA.ipa + RAM_BYTES) throw unexpected(fault);
    this.s2.map({ ipa: page, size: PAGE, pa: page + PA_OFFSET, prot: Prot.RWX, flags: FAULT });
    this.faults++;
  }

  /** Whether DATA holds this. @param {Uint32Array} words */
  holds(words) {
    const held = this.memory.subarray(0, DATA.size);
    return Buffer.compare(held, new Uint8Array(words.buffer)) === 0;
  }

  dispose() {
    this.vcpu.dispose();
    this.s2.dispose();
  }
}

/** @param {Fault} fault */
function unexpected(fault) {
  return new Error(`no fault that a guest should make: ${fault}`);
}
