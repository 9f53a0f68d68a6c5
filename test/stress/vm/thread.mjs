// @ts-check
/** What one thread has: its engine, VMs, vCPUs, its rows of the board. */
import { Engine } from "stage2";
import { Memory } from "../memory.mjs";
import { regionOf } from "../scene.mjs";
import { VmBoard } from "./board.mjs";
import { HostMemory } from "./host.mjs";
import { KINDS } from "./kinds.mjs";
import { MODES, VCPUS_PER_THREAD, vmOf } from "./scene.mjs";
import { VM_VIOLATIONS } from "./violations.mjs";

/**
 * What a thread is started with.
 *
 * @typedef {object} VmStart
 * @property {"vm"} part
 * @property {import("stage2").EngineHandle} engine
 * @property {import("stage2").VmHandle[]} vms
 * @property {SharedArrayBuffer} board
 * @property {number} thread from 0
 * @property {number} threads
 * @property {number} patience ms
 * @property {import("../options.mjs").Options} options
 */

const SMALL_TLB = { sets: 16, ways: 4 };
const MOST_WORDS = 20;

/** The smallest there is: it fills up. */
const HDBSS_ENTRIES = 512;

/** The CPUs of a thread in each VM: a TLB that is soon full; and one that walks ahead, or sets no access flag itself. */
const CPUS = [{ tlb: SMALL_TLB }, { tlb: SMALL_TLB, hafdbs: 0, speculation: 16 }];
/** Where hardware tells what is dirty; and one beside it that faults. */
const DIRTY_CPUS = [{ tlb: SMALL_TLB, hafdbs: 4 }, { tlb: SMALL_TLB }];

export class VmThread {
  #say;
  #said = 0;

  /** @param {VmStart} start @param {Engine} engine @param {(text: string) => void} say */
  constructor(start, engine, say) {
    this.#say = say;
    this.number = start.thread;
    this.options = start.options;
    this.patience = start.patience;
    this.engine = engine;
    this.board = new VmBoard(start.board, start.threads);
    this.rows = this.board.threads[start.thread];
    this.memory = new Memory(engine, this.board);
    this.host = new HostMemory(this);
    const backing = this.host.backing();
    this.vms = start.vms.map((handle) => engine.attachVm(handle, { memory: backing }));
    this.vcpus = this.vms.map((vm, i) => this.#vcpusOf(vm, i));
  }

  /** @param {VmStart} start @param {(text: string) => void} say */
  static async start(start, say) {
    const engine = await Engine.attach(start.engine, { patience: start.patience });
    return new VmThread(start, engine, say);
  }

  /** The VM of a region. @param {number} region */
  vm(region) {
    return this.vms[vmOf(region)];
  }

  /** A vCPU that runs the guest of a page. @param {number} page @param {number} variant */
  vcpu(page, variant) {
    return this.vcpus[vmOf(regionOf(page))][variant % VCPUS_PER_THREAD];
  }

  /** Moves what this thread's CPUs have recorded of a VM into its log: nothing is on its way now. @param {number} vm */
  settle(vm) {
    if (MODES[vm] === "hdbss") this.vcpus[vm][0].harvestHdbss();
    Atomics.add(this.rows.settled, vm, 1);
  }

  /** An operation has ended: where hardware keeps no record, nothing is on its way. */
  settleRest() {
    MODES.forEach((mode, vm) => {
      if (mode !== "hdbss") Atomics.add(this.rows.settled, vm, 1);
    });
  }

  /** @param {import("./violations.mjs").VmViolation} name @param {string} words */
  violation(name, words) {
    Atomics.add(this.board.common.violations, VM_VIOLATIONS.indexOf(name), 1);
    if (this.#said++ < MOST_WORDS) this.#say(`${name}: ${words} (thread ${this.number})`);
  }

  /** What each thread is doing, for a message. */
  whatAllDo() {
    return this.board.threads
      .map(({ now }, i) => `thread ${i} in "${KINDS[Atomics.load(now, 0) - 1] ?? "a quiet point"}"`)
      .join(", ");
  }

  dispose() {
    for (const vcpus of this.vcpus) for (const vcpu of vcpus) vcpu.dispose();
    for (const vm of this.vms) vm.dispose();
    this.engine.dispose();
  }

  /** Creates this thread's vCPUs of a VM. @param {import("stage2").Vm} vm @param {number} number */
  #vcpusOf(vm, number) {
    const cpus = MODES[number] === "hdbss" ? DIRTY_CPUS : CPUS;
    return cpus.map((cpu, i) => {
      const vcpu = vm.createVcpu({ id: this.number * VCPUS_PER_THREAD + i, ...cpu });
      if (MODES[number] === "hdbss" && i === 0) vcpu.setHdbssBuffer(HDBSS_ENTRIES);
      return vcpu;
    });
  }
}
