/** A thread's part of a VM: engine, memory, VM and one vCPU, and how it gets to pages. */
import { Engine, GuestMemory, type Vm, type VmVcpu } from "../../../../src/index.ts";
import { type Start, WORD } from "./messages.ts";

/** ID_AA64MMFR1_EL1.HAFDBS of a CPU that has it. */
const HDBSS = 4;
const HDBSS_ENTRIES = 512;

export class ThreadGuest {
  readonly engine: Engine;
  readonly ram: GuestMemory;
  readonly vm: Vm;
  readonly vcpu: VmVcpu;
  readonly start: Start;

  private constructor(start: Start, engine: Engine) {
    this.start = start;
    this.engine = engine;
    this.ram = GuestMemory.attach(engine, start.ram);
    this.vm = engine.attachVm(start.vm, { memory: this.ram });
    this.ram.addVm(this.vm);
    this.vcpu = this.vm.createVcpu({ id: start.id, ...start.cpu });
    if (start.cpu.hafdbs === HDBSS) this.vcpu.setHdbssBuffer(HDBSS_ENTRIES);
  }

  static async join(start: Start): Promise<ThreadGuest> {
    return new ThreadGuest(start, await Engine.attach(start.engine));
  }

  get id(): number {
    return this.start.id;
  }

  /** Pages of the slot. */
  get pages(): number {
    return this.start.slot.size / this.start.page;
  }

  /** IPA of a page of the slot. */
  ipa(page: number): number {
    return this.start.slot.ipa + page * this.start.page;
  }

  word(name: keyof typeof WORD): number {
    return Atomics.load(this.start.control, WORD[name]);
  }

  /** Adds to a word, and wakes who waits for it. */
  add(name: keyof typeof WORD, n: number): void {
    Atomics.add(this.start.control, WORD[name], n);
    Atomics.notify(this.start.control, WORD[name]);
  }

  /** Sleeps while the word has this value; `while`: at most so many ms at a time. */
  sleep(name: keyof typeof WORD, value: number, most = 1000): void {
    Atomics.wait(this.start.control, WORD[name], value, most);
  }

  leave(): void {
    this.vcpu.dispose();
    this.vm.dispose();
    this.ram.dispose();
    this.engine.dispose();
  }
}
