/**
 * A machine for a test, call by call. Every call is made on the model too and everything is compared after it; records can be
 * forged where no call leads, and then calls are made on the machine alone.
 */
import { afterEach, beforeEach, expect } from "vitest";
import type { Engine, EngineOptions } from "../../src/engine.ts";
import { HYPERCALL, PAGE_STATE, POISON } from "../../src/pkvm/_abi.ts";
import { hex, leafOf } from "./compare.ts";
import { isValid, wordOf } from "./entry.ts";
import { createCpus } from "./machine.ts";
import type { CallName } from "./model/model.ts";
import { NOPAGE } from "./model/memory.ts";
import type { Leaf } from "./model/vm.ts";
import type { Memcache } from "./model/words.ts";
import { Pair } from "./pair.ts";
import { type Generation, type World, smallWorld } from "./world.ts";

type Word = number | bigint;

const STATES = ["OWNED", "SHARED_OWNED", "SHARED_BORROWED", "NOPAGE"] as const;
export type StateName = (typeof STATES)[number];

/** A page as its record has it. */
export interface RecordFields {
  readonly host: StateName;
  readonly hyp: StateName;
  readonly references: number;
  readonly guests: number;
}

export interface VmParts {
  readonly handle: number;
  /** Struct kvm, which stays shared with the hypervisor. */
  readonly shared: number;
  /** Pages that were given: VM struct, entry table, vCPU structs. */
  readonly donated: readonly number[];
}

const U64 = 2n ** 64n - 1n;
const CPUS = 2;

/** A page list that says what it holds. */
export const listOf = (...pfns: Word[]): Memcache => ({
  count: BigInt(pfns.length),
  pages: pfns.map(BigInt),
});

export class Bench {
  readonly pair: Pair;
  readonly cpus: readonly Engine[];
  /** The CPU that calls. */
  cpu = 0;
  #next: number;

  constructor(cpus: readonly Engine[], world: World) {
    this.cpus = cpus;
    this.pair = new Pair(cpus, world);
    this.#next = (this.pair.state.memory.regions[1]?.first ?? 0) + 512;
  }

  /** First page of memory. */
  get base(): number {
    return this.pair.state.memory.regions[0]?.first as number;
  }

  /** A page that no test uses otherwise. */
  fresh(count = 1): number {
    this.#next += count;
    return this.#next - count;
  }

  /** On both; the answer. Whatever is not as the model says fails the test. */
  call(name: CallName, ...args: Word[]): number {
    return this.callWith(undefined, name, ...args);
  }

  /** The same with a list of pages for the hypervisor. */
  callWith(memcache: Memcache | undefined, name: CallName, ...args: Word[]): number {
    const words = args.map((value) => BigInt(value) & U64);
    const step = { cpu: this.cpu, number: HYPERCALL[name], args: words, memcache };
    const { result, difference } = this.pair.step(step);
    const text = `${name} ${args.map(hex).join(" ")}`;
    expect(difference ?? this.pair.compareAll(), text).toBeUndefined();
    if (result === undefined) throw new Error(`${text}: the hypervisor does not do so`);
    return result;
  }

  /** On the machine alone: after something was forged. */
  raw(name: CallName, ...args: Word[]): number {
    return this.rawWith(undefined, name, ...args);
  }

  rawWith(memcache: Memcache | undefined, name: CallName, ...args: Word[]): number {
    const words = args.map((value) => BigInt(value) & U64);
    return this.pair.machine.call(this.cpu, HYPERCALL[name], words, memcache);
  }

  on(cpu: number): this {
    this.cpu = cpu;
    return this;
  }

  record(pfn: number): RecordFields {
    const words = this.pair.machine.u32;
    const at = this.#recordAt(pfn);
    const [first, guests] = [words[at] as number, words[at + 1] as number];
    return {
      host: STATES[(first >>> 16) & 0xff] as StateName,
      hyp: STATES[(first >>> 24) ^ NOPAGE] as StateName,
      references: first & 0xffff,
      guests: ((first >>> 16) & 0xff) === PAGE_STATE.SHARED_OWNED ? guests : 0,
    };
  }

  /** Writes a record in memory; the model does not learn of it. */
  forge(pfn: number, fields: Partial<RecordFields>): void {
    const words = this.pair.machine.u32;
    const at = this.#recordAt(pfn);
    const { host, hyp, references, guests } = { ...this.record(pfn), ...fields };
    words[at] = references | (PAGE_STATE[host] << 16) | ((PAGE_STATE[hyp] ^ NOPAGE) << 24);
    words[at + 1] = guests;
  }

  /** Whether the hypervisor's own table maps a page, and whether the host's does. */
  isInHyp(pfn: number): boolean {
    const { machine, state } = this.pair;
    return isValid(machine.entry(machine.hyp, pfn * 2 ** 12 - state.world.hypOffset));
  }

  isInHost(pfn: number): boolean {
    const { machine } = this.pair;
    return isValid(machine.entry(machine.host, pfn * 2 ** 12));
  }

  /** What a guest has at a guest page. */
  guest(handle: number, gfn: number): StateName | "POISON" {
    const entry = this.#guestEntry(handle, gfn);
    if (isValid(entry)) return STATES[leafOf(entry, gfn).state] as StateName;
    return wordOf(entry) === BigInt(POISON) ? "POISON" : "NOPAGE";
  }

  /** The leaf that decides a guest page, which is mapped. */
  leaf(handle: number, gfn: number): Leaf {
    return leafOf(this.#guestEntry(handle, gfn), gfn);
  }

  /** Sets the state of a guest's leaf, or the whole entry, behind everybody's back. */
  forgeGuest(handle: number, gfn: number, to: StateName | "POISON"): void {
    const slot = this.#guestSlot(handle, gfn);
    const words = this.cpus[0]?.u64 as BigUint64Array;
    const mask = 3n << 55n;
    const old = words[slot / 8] as bigint;
    words[slot / 8] =
      to === "POISON" ? BigInt(POISON) : (old & ~mask) | (BigInt(PAGE_STATE[to]) << 55n);
  }

  /** A VM with this many vCPUs, and pages for it. */
  vm(isProtected = false, vcpus = 1): VmParts {
    const [shared, struct, root] = [this.fresh(), this.fresh(), this.fresh(2)];
    expect(this.call("SHARE_HYP", shared)).toBe(0);
    const flags = Number(isProtected);
    const handle = this.call("INIT_VM", 0, shared, struct, root, vcpus, flags);
    expect(handle).toBeGreaterThanOrEqual(0x1000);
    const structs = Array.from({ length: vcpus }, () => this.fresh());
    for (const [index, pfn] of structs.entries())
      expect(this.call("INIT_VCPU", handle, pfn)).toBe(index);
    return { handle, shared, donated: [struct, root, root + 1, ...structs] };
  }

  /** The same with its first vCPU loaded on this CPU. */
  loadedVm(isProtected = false, vcpus = 1): VmParts {
    const parts = this.vm(isProtected, vcpus);
    expect(this.call("VCPU_LOAD", parts.handle, 0)).toBe(0);
    return parts;
  }

  /** Pages for a loaded vCPU's tables. */
  pages(count: number): Memcache {
    return listOf(...Array.from({ length: count }, () => this.fresh()));
  }

  /** All that the machine holds, to be compared with what it held; what the host has of its own comes and goes as it likes. */
  snapshot(): unknown[] {
    const { machine, state } = this.pair;
    const end = 2 ** state.world.paBits;
    const words = machine.u32;
    const records = machine.records.flatMap((pointer, index) => {
      const pages = state.memory.regions[index]?.pages.length ?? 0;
      return [...words.slice(pointer / 4, pointer / 4 + 2 * pages)];
    });
    const others = machine.entries(machine.host, end).filter((entry) => !isValid(entry));
    const tables = [others, machine.entries(machine.hyp, end)];
    const vms = [...state.vms.keys()].map((handle) => {
      const vm = machine.vm(handle);
      return typeof vm === "number" ? vm : [vm, machine.entries(vm.table, end)];
    });
    const cpus = this.cpus.map((_, cpu) => machine.loaded(cpu));
    return [records, tables, vms, cpus, machine.hostPagesLeft()];
  }

  /** Refused with this errno, and nothing is otherwise than before. */
  expectRefused(errno: number, name: CallName, ...args: Word[]): void {
    const before = this.snapshot();
    expect(this.raw(name, ...args), `${name} ${args.map(hex).join(" ")}`).toBe(-errno);
    expect(this.snapshot(), `${name} changed something`).toEqual(before);
  }

  #recordAt(pfn: number): number {
    const { machine, state } = this.pair;
    const index = state.memory.regions.findIndex(({ first, end }) => pfn >= first && pfn < end);
    const region = state.memory.regions[index];
    if (region === undefined) throw new Error(`no page ${hex(pfn)}`);
    return (machine.records[index] as number) / 4 + 2 * (pfn - region.first);
  }

  #guestEntry(handle: number, gfn: number) {
    return this.pair.machine.entry(this.#table(handle), gfn * 2 ** 12);
  }

  #guestSlot(handle: number, gfn: number): number {
    return this.pair.machine.slot(this.#table(handle), gfn * 2 ** 12);
  }

  #table(handle: number): number {
    const vm = this.pair.machine.vm(handle);
    if (typeof vm === "number") throw new Error(`no VM ${hex(handle)}`);
    return vm.table;
  }
}

/** The bench of the running test. */
export interface BenchLab {
  readonly bench: Bench;
  /** Records were forged: the machine is not ended, and not compared again. */
  spoil(): void;
}

/** A machine of a generation for every test; it ends with nothing left. */
export function benches(
  generation: Generation,
  change: Partial<World> = {},
  options: EngineOptions = {},
): BenchLab {
  let bench: Bench | undefined;
  let spoilt = false;
  beforeEach(async () => {
    spoilt = false;
    bench = new Bench(await createCpus(CPUS, options), { ...smallWorld(generation), ...change });
  });
  afterEach(() => {
    const difference = spoilt ? undefined : bench?.pair.end();
    for (const cpu of bench?.cpus ?? []) cpu.dispose();
    bench = undefined;
    expect(difference).toBeUndefined();
  });
  return {
    get bench() {
      if (bench === undefined) throw new Error("no test is running");
      return bench;
    },
    spoil() {
      spoilt = true;
    },
  };
}
