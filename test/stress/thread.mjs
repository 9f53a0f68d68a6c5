// @ts-check
/** What one thread has: its engine, tables, vCPUs, caches, its rows of the board. */
import { Engine } from "stage2";
import { Board } from "./board.mjs";
import { KINDS } from "./kinds.mjs";
import { Memory } from "./memory.mjs";
import { regionOf, tableOf } from "./scene.mjs";
import { TABLES } from "./shapes.mjs";
import { VIOLATIONS } from "./violations.mjs";

/**
 * What a thread is started with.
 *
 * @typedef {object} Start
 * @property {import("stage2").EngineHandle} engine
 * @property {import("stage2").Stage2Handle[]} tables
 * @property {SharedArrayBuffer} board
 * @property {number} thread from 0
 * @property {number} threads
 * @property {number} patience ms
 * @property {import("./options.mjs").Options} options
 */

const SMALL_TLB = { sets: 16, ways: 4 };
const CACHE_PAGES = 8;
/** Reports with words for people; all are counted. */
const MOST_WORDS = 20;

/** The CPUs of a thread, for each table. @type {readonly import("stage2").VcpuOptions[]} */
export const CPUS = [
  { tlb: SMALL_TLB },
  { tlb: false },
  { tlb: SMALL_TLB, hafdbs: 0, speculation: 16 }, // sets no flag: faults for each, walks ahead
  { tlb: SMALL_TLB, hd: true },
];

export class Thread {
  #say;
  #said = 0;

  /**
   * @param {Start} start
   * @param {Engine} engine
   * @param {(text: string) => void} say
   */
  constructor(start, engine, say) {
    this.#say = say;
    this.number = start.thread;
    this.options = start.options;
    this.engine = engine;
    this.board = new Board(start.board, start.threads);
    this.rows = this.board.threads[start.thread];
    this.memory = new Memory(engine, this.board);
    this.tables = start.tables.map((handle) => engine.attachStage2(handle));
    this.caches = this.tables.map(() => engine.cache());
    this.vcpus = this.tables.map((s2) => CPUS.map((options) => engine.vcpu(s2, options)));
    this.topUp();
  }

  /** @param {Start} start @param {(text: string) => void} say */
  static async start(start, say) {
    const engine = await Engine.attach(start.engine, { patience: start.patience });
    return new Thread(start, engine, say);
  }

  /** The table of a page. @param {number} page */
  s2(page) {
    return this.tables[tableOf(regionOf(page))];
  }

  /** Whether a late map leaves a leaf of this page alone, and at most makes it young. @param {number} page */
  keepsPermissions(page) {
    return TABLES[tableOf(regionOf(page))].keepPermissions === true;
  }

  /** A vCPU that runs the guest of a page. @param {number} page @param {number} variant */
  vcpu(page, variant) {
    return this.vcpus[tableOf(regionOf(page))][variant % CPUS.length];
  }

  /** Fills the caches, and says how much they hold. */
  topUp() {
    for (const cache of this.caches) cache.topup(CACHE_PAGES);
    this.rows.now[1] = this.caches.reduce((sum, cache) => sum + cache.count, 0);
  }

  /** @param {import("./violations.mjs").Violation} name @param {string} words */
  violation(name, words) {
    Atomics.add(this.board.common.violations, VIOLATIONS.indexOf(name), 1);
    if (this.#said++ < MOST_WORDS) this.#say(`${name}: ${words} (thread ${this.number})`);
  }

  /** What each thread is doing, for a message. */
  whatAllDo() {
    return this.board.threads
      .map(({ now }, i) => `thread ${i} in "${KINDS[Atomics.load(now, 0) - 1] ?? "a quiet point"}"`)
      .join(", ");
  }

  dispose() {
    for (const cpus of this.vcpus) for (const vcpu of cpus) vcpu.dispose();
    for (const cache of this.caches) cache.dispose();
    for (const s2 of this.tables) s2.dispose();
    this.engine.dispose();
  }
}
