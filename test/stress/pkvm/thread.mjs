// @ts-check
/** What one thread has: its engine, machines, guests, a vCPU for each, its rows of the board. */
import { Engine } from "stage2";
import { COUNT, PkvmBoard } from "./board.mjs";
import { KINDS } from "./kinds.mjs";
import { GUESTS } from "./scene.mjs";

/**
 * What a thread is started with.
 *
 * @typedef {object} PkvmStart
 * @property {"pkvm"} part
 * @property {import("stage2").EngineHandle} engine
 * @property {import("stage2").PkvmHandle[]} machines
 * @property {import("stage2").PkvmStage2Handle[]} guests by machine, then guest
 * @property {SharedArrayBuffer} board
 * @property {number} thread from 0
 * @property {number} threads
 * @property {number} patience ms
 * @property {import("../options.mjs").Options} options
 */

const SMALL_TLB = { sets: 16, ways: 4 };
const MOST_WORDS = 20;

export class PkvmThread {
  #say;
  #said = 0;

  /** @param {PkvmStart} start @param {Engine} engine @param {(text: string) => void} say */
  constructor(start, engine, say) {
    this.#say = say;
    this.number = start.thread;
    this.options = start.options;
    this.patience = start.patience;
    this.engine = engine;
    this.board = new PkvmBoard(start.board, start.threads);
    this.rows = this.board.threads[start.thread];
    this.machines = start.machines.map((handle) => engine.attachPkvm(handle));
    this.guests = start.guests.map((handle) => engine.attachPkvmStage2(handle));
    this.vcpus = this.guests.map((guest) => engine.vcpu(guest, { tlb: SMALL_TLB }));
  }

  /** @param {PkvmStart} start @param {(text: string) => void} say */
  static async start(start, say) {
    const engine = await Engine.attach(start.engine, { patience: start.patience });
    return new PkvmThread(start, engine, say);
  }

  /** @param {{ machine: number, guest: number }} place */
  guest({ machine, guest }) {
    return this.guests[machine * GUESTS + guest];
  }

  /** @param {{ machine: number, guest: number }} place */
  vcpu({ machine, guest }) {
    return this.vcpus[machine * GUESTS + guest];
  }

  /** @param {keyof typeof COUNT} what */
  counts(what) {
    this.rows.counts[COUNT[what]]++;
  }

  /** @param {import("./violations.mjs").PkvmViolation} name @param {string} words */
  violation(name, words) {
    this.board.count(name);
    if (this.#said++ < MOST_WORDS) this.#say(`${name}: ${words} (thread ${this.number})`);
  }

  /** What each thread is doing, for a message. */
  whatAllDo() {
    return this.board.threads
      .map(({ now }, i) => `thread ${i} in "${KINDS[Atomics.load(now, 0) - 1] ?? "a quiet point"}"`)
      .join(", ");
  }

  dispose() {
    for (const vcpu of this.vcpus) vcpu.dispose();
    for (const guest of this.guests) guest.dispose();
    for (const machine of this.machines) machine.dispose();
    this.engine.dispose();
  }
}
