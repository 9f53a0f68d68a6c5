/**
 * The bed of tests of pKVM: a machine whose memory a hypervisor keeps the books of, VMs made by the host's kernel or by bare
 * hypercalls, and looks at all of it that no scheduler sees.
 *
 *   PA   MEMORY   512 pages, one block: `A`, `B`, ... of support.ts are the first of them
 *        STOCK    pages that the host's kernel hands to the hypervisor
 */
import { OPTION, STATE } from "../../../src/_abi.ts";
import type { Agent, Lab } from "../../../src/explorer/litmus.ts";
import { Prot, type Stage2, type VcpuOptions } from "../../../src/index.ts";
import { HYPERCALL, PKVM_OPTION } from "../../../src/pkvm/_abi.ts";
import type { Part } from "./observe.ts";
import { type Agents, BLOCK, NO_TLB, PAGE, RAM, agent } from "./support.ts";
import { atOnce, fine } from "./vm_bed.ts";

export { HYPERCALL };

const PAGE_SHIFT = 12;
/** Few entries in a root, as teardown visits them all. */
const PA_BITS = 36;
const RESULTS = 8;
/** The start of words that hold a page's record (src/pkvm/_abi.ts). */
const RECORD = 8;
const RECORDS = 3;

export const MEMORY = { pa: RAM.pa, pages: BLOCK / PAGE } as const;
const STOCK = { pa: RAM.pa + 4 * BLOCK, pages: 128 } as const;
/** Table pages of the engine that worlds need. */
export const ROOM = 256;

/** Pages of an entry table. */
export const ENTRY_PAGES = 1;

const HCR_VM_RW = (1n << 31n) | 1n;
const PARANGE_36 = 1;
/** VMIDs of 16 bits, hardware access flags. */
const VMIDS_AND_HA = 0x21;

/** Generations, as sets of options. */
export const GENERATION = {
  seed:
    PKVM_OPTION.MAPPINGS_LOCK |
    PKVM_OPTION.PAGES |
    PKVM_OPTION.GFN_ROUNDING |
    PKVM_OPTION.EPERM_IS_AGAIN |
    PKVM_OPTION.ERROR_IS_YOUNG |
    PKVM_OPTION.MAP_SHARED_HYP,
  default: 0,
  newest: PKVM_OPTION.PROTECTED_GUESTS | PKVM_OPTION.INJECT_HOST_ABORTS,
} as const;
export type Generation = keyof typeof GENERATION;

export type Table = Pick<Stage2, "pointer">;

/** A VM of the host's kernel: a page table of its own kind, whose calls are `el1_*`. */
export interface GuestVm {
  readonly pgt: number;
  readonly handle: number;
  readonly s2: Table;
}

/** What the hypervisor has written down about a page. */
export interface PageRecord {
  readonly references: number;
  readonly host: number;
  readonly hyp: number;
  /** Leaves of guests that map it. */
  readonly count: number;
}

/** Frame number of page `n` of MEMORY. */
export function pfn(n: number): number {
  return RAM.pa / PAGE + n;
}

export class PkvmBed {
  readonly lab: Lab;
  readonly agents: Agents;
  readonly machine: number;
  readonly maker: Agent;
  /** The host's stage 2, and the hypervisor's stage 1. */
  readonly host: Table;
  readonly hyp: Table;
  readonly #records: number;
  readonly #vtcr: bigint;
  /** Physical address of what is at pointer 0 of the pool. */
  readonly #physical: number;

  /** Made by the first agent. */
  constructor(agents: Agents, lab: Lab, generation: Generation = "default", events = 0) {
    const [maker] = Object.values(agents);
    if (maker === undefined) throw new Error("a litmus test needs agents");
    this.lab = lab;
    this.agents = agents;
    this.maker = maker;
    const { core } = maker;
    const options = GENERATION[generation];
    this.machine = fine("pkvm_create", core.pkvm_create(PAGE_SHIFT, PA_BITS, options)) >>> 0;
    for (const { pa, pages } of [MEMORY, STOCK]) {
      this.setArguments(maker, [pa, pages * PAGE]);
      fine("pkvm_add_region", core.pkvm_add_region(this.machine, 0));
    }
    this.setArguments(maker, [STOCK.pa, STOCK.pages * PAGE, 0, PARANGE_36, VMIDS_AND_HA]);
    fine("pkvm_init", core.pkvm_init(this.machine, OPTION.KEEP_PERMISSIONS, events));
    fine("pkvm_describe", core.pkvm_describe(this.machine));
    this.host = { pointer: this.result(maker, 0) };
    this.hyp = { pointer: this.result(maker, 1) };
    fine("pkvm_region", core.pkvm_region(this.machine, 0));
    this.#records = this.result(maker, RECORDS);
    this.setArguments(maker, [PARANGE_36, VMIDS_AND_HA]);
    core.pure_vtcr(PAGE_SHIFT, PA_BITS, 0);
    this.#vtcr = BigInt(this.result(maker, 0));
    this.#physical = core.pool_phys() - (core.pool_pointer() >>> 0);
    lab.name(this.#records, MEMORY.pages * RECORD, "page records");
  }

  // ---- arguments and results: words of the agent's own -----------------------------------------------------

  setArguments({ core }: Agent, values: readonly (number | bigint)[]): void {
    const block = core.args() >>> 0;
    for (const [index, value] of values.entries())
      this.lab.write64(block + index * 8, BigInt.asUintN(64, BigInt(value)));
  }

  /** r[index] of the agent's last call. */
  result({ core }: Agent, index: number): number {
    return Number(BigInt.asIntN(64, this.lab.read64((core.args() >>> 0) + (RESULTS + index) * 8)));
  }

  /** A hypercall by this agent. */
  *calls(on: Agent, call: number, ...values: readonly number[]): Part<number> {
    this.setArguments(on, values);
    return yield () => on.core.pkvm_call(this.machine, call);
  }

  /** SHARE_GUEST or DONATE_GUEST, with the host's list of pages for tables. */
  *gives(on: Agent, call: number, list: readonly number[], ...values: number[]): Part<number> {
    const at = on.core.batch() >>> 0;
    for (const [index, word] of [list.length, ...list].entries())
      this.lab.write64(at + index * 8, BigInt(word));
    return yield* this.calls(on, call, ...values);
  }

  // ---- VMs by bare hypercalls -------------------------------------------------------------------------------------

  /** Makes a VM out of pages of MEMORY from `first` on: struct kvm, VM, entry table, vCPUs. Its handle. */
  bareVm(on: Agent, first: number, flags = 0, vcpus = 1): number {
    const [kvm, vm, entries] = [0, 1, 2].map((n) => pfn(first + n));
    fine("SHARE_HYP", this.now(on, HYPERCALL.SHARE_HYP, kvm as number));
    const words = [0, kvm, vm, entries, vcpus, flags] as number[];
    const handle = fine("INIT_VM", this.now(on, HYPERCALL.INIT_VM, ...words));
    for (let n = 0; n < vcpus; n++) {
      const page = pfn(first + 2 + ENTRY_PAGES + n);
      fine("INIT_VCPU", this.now(on, HYPERCALL.INIT_VCPU, handle, page));
    }
    return handle;
  }

  /** The stage 2 of the VM with this handle. */
  tableOf(handle: number): Table {
    const { core } = this.maker;
    fine("pkvm_vm", core.pkvm_vm(this.machine, handle));
    return { pointer: this.result(this.maker, 0) };
  }

  /** SHARE_GUEST or DONATE_GUEST outside of schedules. */
  giveNow(on: Agent, call: number, list: readonly number[], ...values: number[]): number {
    return atOnce(this.gives(on, call, list, ...values));
  }

  /** This CPU runs on the table with this root from its next `vcpu_configure` on. */
  runs(cpu: number, root: number, vmid: number): void {
    const physical = this.#physical + (root >>> 0);
    this.lab.write64(cpu + STATE.HCR_EL2, HCR_VM_RW);
    this.lab.write64(cpu + STATE.VTCR_EL2, this.#vtcr);
    this.lab.write64(cpu + STATE.VTTBR_EL2, (BigInt(vmid) << 48n) | BigInt(physical));
  }

  /** A CPU of this agent that runs on the table: the host's (VMID 0) or a guest's. */
  cpuOn(name: string, { pointer }: Table, vmid: number, options: VcpuOptions = NO_TLB): number {
    const { engine, core } = agent(this.agents, name);
    const cpu = engine.vcpu(undefined, options).cpu.pointer;
    this.runs(cpu, core.pgt_root(pointer), vmid);
    core.vcpu_configure(cpu);
    return cpu;
  }

  // ---- guests --------------------------------------------------------------------------------------------------

  /** A VM of the host's kernel; its vCPUs, one for each thread, are loaded where they are needed. */
  vm(): GuestVm {
    const { core } = this.maker;
    const pgt = fine("el1_create", core.el1_create(this.machine, 0, 0, 0, 0)) >>> 0;
    core.el1_describe(pgt);
    return { pgt, handle: this.result(this.maker, 1), s2: { pointer: pgt } };
  }

  /** A memcache of this agent with room for one mapping; its vCPU has the pages already. */
  cache(name: string, pages = 0): number {
    const { core } = agent(this.agents, name);
    const cache = fine("memcache_create", core.memcache_create(this.machine)) >>> 0;
    fine("memcache_topup", core.memcache_topup(cache, pages));
    return cache;
  }

  /** Maps outside of schedules, by this agent. */
  maps(name: string, { pgt }: GuestVm, gfn: number, n: number, prot: number = Prot.RW): void {
    const { core } = agent(this.agents, name);
    fine("el1_map", core.el1_map(pgt, gfn * PAGE, PAGE, MEMORY.pa + n * PAGE, prot, 0, 1));
  }

  mapsForAWhile(name: string, vm: GuestVm, gfn: number, n: number): void {
    this.maps(name, vm, gfn, n);
    fine("el1_unmap", agent(this.agents, name).core.el1_unmap(vm.pgt, gfn * PAGE, PAGE));
  }

  /** Maps all of MEMORY by a block. */
  mapsBlock(name: string, { pgt }: GuestVm, prot: number = Prot.RW): void {
    const { core } = agent(this.agents, name);
    fine("el1_map", core.el1_map(pgt, 0, BLOCK, MEMORY.pa, prot, 0, 1));
  }

  /** Lets the VM keep table pages, so that no schedule has to bring any. */
  spares(name: string, vm: GuestVm, pages: number): void {
    const { core } = agent(this.agents, name);
    const gfns = Array.from({ length: pages }, (_, n) => (4 + n) * (BLOCK / PAGE));
    for (const gfn of gfns) this.maps(name, vm, gfn, MEMORY.pages - 1);
    for (const gfn of gfns) fine("el1_unmap", core.el1_unmap(vm.pgt, gfn * PAGE, PAGE));
  }

  /** A hypercall outside of schedules, by this agent. */
  now(on: Agent, call: number, ...values: readonly number[]): number {
    this.setArguments(on, values);
    return on.core.pkvm_call(this.machine, call);
  }

  // ---- looks that no scheduler sees ------------------------------------------------------------------------------

  /** The record of page `n` of MEMORY. */
  record(n: number): PageRecord {
    const word = this.lab.read64(this.#records + n * RECORD);
    const byte = (shift: bigint): number => Number((word >> shift) & 0xffn);
    return {
      references: Number(word & 0xffffn),
      host: byte(16n),
      hyp: byte(24n) ^ 3,
      count: Number(word >> 32n),
    };
  }

  /** The entry that decides `gfn` of this VM now. */
  entry(vm: GuestVm, gfn: number): bigint {
    return this.lab.read64(this.entryPointer(vm, gfn));
  }

  entryPointer({ s2 }: GuestVm, gfn: number): number {
    return this.lab.entry(s2, gfn * PAGE);
  }

  /** The entry of the host's stage 2 that decides page `n` of MEMORY. */
  hostEntry(n: number): bigint {
    return this.lab.read64(this.lab.entry(this.host, MEMORY.pa + n * PAGE));
  }

  /** Pointer to guest memory at this physical address. */
  ram(pa: number): number {
    return this.lab.pointer(pa);
  }
}
