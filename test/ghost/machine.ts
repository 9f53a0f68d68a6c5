/** A machine of the core with several CPUs, and a look at all that it holds. */
import type { Core } from "../../src/_abi.ts";
import { BATCH, LIST, RECORD_BYTES } from "../../src/_abi.ts";
import { Engine, type EngineOptions } from "../../src/engine.ts";
import { PKVM_REGION, type PkvmCore } from "../../src/pkvm/_abi.ts";
import type { Memcache, Words } from "./model/words.ts";
import type { World } from "./world.ts";

type GhostCore = Core & PkvmCore;

/** An entry of a page table. */
export interface Entry {
  readonly address: number;
  readonly level: number;
  readonly low: number;
  readonly high: number;
}

/** What `pkvm_vm` says. */
export interface VmReport {
  readonly table: number;
  readonly created: number;
  readonly made: number;
  readonly references: number;
  readonly flags: number;
  readonly admitted: number;
  readonly inMemcaches: number;
  readonly spare: number;
}

const LEVEL_FLOOR = BigInt.asUintN(64, -2n);
const ARGUMENTS = 8;

/** Engines for machines: one thread of the core for each CPU, all in this thread. */
export async function createCpus(count: number, options: EngineOptions = {}): Promise<Engine[]> {
  const sizes = { maxTablePages: 16_384, maxThreads: 4 };
  const first = await Engine.create({ ...sizes, mode: "threads", ...options });
  const cpus = [first];
  while (cpus.length < count) cpus.push(await Engine.attach(first.handle));
  return cpus;
}

export class Machine {
  readonly cpus: readonly Engine[];
  readonly pointer: number;
  /** Page tables of the host and of the hypervisor. */
  readonly host: number;
  readonly hyp: number;
  /** Pointers of the records of each region, ascending. */
  readonly records: readonly number[];
  readonly #core: GhostCore;

  constructor(cpus: readonly Engine[], world: World) {
    this.cpus = cpus;
    this.#core = coreOf(cpus[0] as Engine);
    const { pageShift, paBits, options, regions, hostPages, hypOffset } = world;
    this.pointer = this.#core.pkvm_create(pageShift, paBits, options);
    if (this.pointer < 0 && this.pointer > -4096) throw new Error(`create: ${this.pointer}`);
    for (const { pa, size, noMap } of regions) {
      this.#arguments([BigInt(pa), BigInt(size)]);
      this.#must(this.#core.pkvm_add_region(this.pointer, noMap ? PKVM_REGION.NOMAP : 0));
    }
    this.#arguments([BigInt(hostPages.pa), BigInt(hostPages.size), BigInt(hypOffset)]);
    this.#must(this.#core.pkvm_init(this.pointer, 0, 0));
    this.#must(this.#core.pkvm_describe(this.pointer));
    this.host = this.#result(0);
    this.hyp = this.#result(1);
    this.records = regions.map((_, index) => {
      this.#must(this.#core.pkvm_region(this.pointer, index));
      return this.#result(3);
    });
  }

  /** 0, or -EBUSY while there are VMs. */
  destroy(): number {
    return this.#core.pkvm_destroy(this.pointer);
  }

  call(cpu: number, number: number, args: Words, memcache?: Memcache): number {
    const engine = this.cpus[cpu] as Engine;
    const { args64 } = engine.context;
    for (let index = 0; index < ARGUMENTS; index++) args64[index] = args[index] ?? 0n;
    this.#writeList(engine, memcache);
    return coreOf(engine).pkvm_call(this.pointer, number);
  }

  /** First result word of the last call on a CPU. */
  told(cpu: number): number {
    return (this.cpus[cpu] as Engine).context.resultNumber(0);
  }

  /** What this CPU has loaded: handle (0: nothing) and index. */
  loaded(cpu: number): { handle: number; index: number } {
    const handle = coreOf(this.cpus[cpu] as Engine).pkvm_loaded(this.pointer);
    return { handle, index: handle === 0 ? 0 : this.told(cpu) };
  }

  /** Pages that the host's kernel has left. */
  hostPagesLeft(): number {
    this.#must(this.#core.pkvm_describe(this.pointer));
    return this.#result(5);
  }

  /** One of them (its page frame), or -errno; and back. */
  takeHostPage(): number {
    return this.#core.pkvm_host_page(this.pointer);
  }

  giveHostPage(pfn: number): void {
    this.#core.pkvm_host_page_free(this.pointer, pfn);
  }

  vm(handle: number): VmReport | number {
    const status = this.#core.pkvm_vm(this.pointer, handle);
    if (status < 0) return status;
    const [table, created, made, references, flags, admitted, inMemcaches, spare] = Array.from(
      { length: 8 },
      (_, index) => this.#result(index),
    ) as [number, number, number, number, number, number, number, number];
    return { table, created, made, references, flags, admitted, inMemcaches, spare };
  }

  /** Pages of a vCPU's memcache (or -errno), and thread slot + 1 of the CPU that has it loaded. */
  vcpu(handle: number, index: number): { memcache: number; slot: number } {
    const memcache = this.#core.pkvm_vcpu(this.pointer, handle, index);
    return { memcache, slot: this.#result(0) };
  }

  slotOf(cpu: number): number {
    return (this.cpus[cpu] as Engine).thread;
  }

  get u32(): Uint32Array {
    return (this.cpus[0] as Engine).u32;
  }

  /** Pointer to the entry that decides an address. */
  slot(table: number, address: number): number {
    const slot = this.#core.s2_entry(table, address) >>> 0;
    if (slot === 0) throw new Error(`no entry for 0x${address.toString(16)}`);
    return slot;
  }

  /** That entry. */
  entry(table: number, address: number): Entry {
    const slot = this.slot(table, address);
    const level = (this.cpus[0] as Engine).context.resultLevel(1);
    const words = this.u32;
    return { address, level, low: words[slot / 4] as number, high: words[slot / 4 + 1] as number };
  }

  /** Every entry of a table that is not zero and leads to no other table. */
  entries(table: number, end: number): Entry[] {
    const found: Entry[] = [];
    const context = (this.cpus[0] as Engine).context;
    let cursor: [bigint, bigint, bigint] = [0n, BigInt(end), LEVEL_FLOOR];
    while (true) {
      this.#arguments(cursor);
      const length = this.#core.pgt_list(table, LIST.LEAVES | LIST.INVALID);
      if (length < 0) throw new Error(`pgt_list: ${length}`);
      if (length === 0) return found;
      const { args64 } = context;
      cursor = [args64[0] as bigint, args64[1] as bigint, args64[2] as bigint];
      const first = this.#core.batch() >>> 0;
      for (let i = 0; i < length; i++) found.push(this.#listed(first + i * RECORD_BYTES));
    }
  }

  #listed(record: number): Entry {
    const words = this.u32;
    const at = (offset: number): number => words[(record + offset) / 4] as number;
    return {
      address: at(BATCH.ADDRESS + 4) * 2 ** 32 + at(BATCH.ADDRESS),
      level: (at(BATCH.LEVEL) << 24) >> 24,
      low: at(BATCH.ENTRY),
      high: at(BATCH.ENTRY + 4),
    };
  }

  /** The host's list of pages for the hypervisor, where such calls look for it. */
  #writeList(engine: Engine, memcache?: Memcache): void {
    const first = (coreOf(engine).batch() >>> 0) / 8;
    const { u64 } = engine;
    u64[first] = memcache?.count ?? 0n;
    memcache?.pages.forEach((page, index) => (u64[first + 1 + index] = page));
  }

  #arguments(words: Words): void {
    words.forEach((value, index) => (this.cpus[0] as Engine).context.setArgument(index, value));
  }

  #result(index: number): number {
    return (this.cpus[0] as Engine).context.resultNumber(index);
  }

  #must(status: number): void {
    if (status < 0) throw new Error(`the core answers ${status}`);
  }
}

function coreOf(engine: Engine): GhostCore {
  return engine.core as GhostCore;
}
