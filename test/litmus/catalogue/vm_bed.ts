/**
 * The bed of tests of the KVM MMU: a VM with slots over host memory, guests on CPUs of their own, and looks at all of it that no
 * scheduler sees.
 *
 *   IPA 0 .. slot ──> hva HVA .. ──> whatever page the test's host says is there (A, B, ... of support.ts)
 */
import { KIND_STAGE2, OPTION, STATE } from "../../../src/_abi.ts";
import type { Agent, Lab, Program } from "../../../src/explorer/litmus.ts";
import { Stage2, type VcpuOptions } from "../../../src/index.ts";
import { CAP } from "../../../src/vm/_abi.ts";
import type { Call, Part } from "./observe.ts";
import { type Agents, NO_TLB, PAGE, agent } from "./support.ts";
import { HVA, type SlotStart, setSlot } from "./vm_regions.ts";

const PAGE_SHIFT = 12;
const HOST_BITS = 48;
const HCR_VM_RW = (1n << 31n) | 1n;
const VTCR_HD = 1n << 22n;
const RESULTS = 8;
/** The CPUs give no syndrome: an access outside of slots is for user space, who is told. */
const NISV_EXITS = [CAP.ARM_NISV_TO_USER, 1] as const;
/** Table pages that a fault can need; the stock that is made then is KVM's, 40 pages. */
const STOCK = 2;
/** Table pages that worlds of one VM need, whose guests have their stock. */
export const TABLE_PAGES = 160;

/** Words of a VM that threads share, as traces name them (assembly/vm/vm.ts). */
const WORDS = [
  [256, "sequence of slots"],
  [320, "slots_lock"],
  [384, "active invalidations"],
  [448, "in_progress"],
  [456, "invalidate_seq"],
] as const;

export interface VmStart {
  /** Further OPTION bits of its page table. Locks and kept permissions are always on. */
  readonly table?: number;
  readonly options?: number;
  /** Caps that are on before there are slots: cap and argument. */
  readonly caps?: readonly (readonly [cap: number, argument: number])[];
  readonly slots?: readonly SlotStart[];
  /** Hardware manages dirty state. */
  readonly hd?: boolean;
  /** Bits of its addresses. Default 40. */
  readonly ipaBits?: number;
}

/** A vCPU of the VM on a CPU of its own, both of one agent's thread. */
export interface Guest {
  readonly on: Agent;
  readonly context: number;
  readonly cpu: number;
}

/** Runs a program to its end, unscheduled: for start states. */
export function atOnce<T>(part: Part<T>): T {
  let next = part.next(0);
  while (next.done !== true) next = part.next(next.value() ?? 0);
  return next.value;
}

/** Throws if a call of the start state failed. */
export function fine(what: string, result: number): number {
  if (result < 0) throw new Error(`${what} answered ${result}`);
  return result;
}

export class VmBed {
  readonly lab: Lab;
  readonly agents: Agents;
  readonly vm: number;
  /** Pointer of its page table. */
  readonly pgt: number;
  readonly s2: Stage2;
  readonly maker: Agent;
  readonly #vtcr: bigint;
  #guests = 0;

  /** Made by the first agent. */
  constructor(agents: Agents, lab: Lab, start: VmStart) {
    const [maker] = Object.values(agents);
    if (maker === undefined) throw new Error("a litmus test needs agents");
    this.lab = lab;
    this.agents = agents;
    this.maker = maker;
    const core = maker.core;
    this.vm = core.vm_create(PAGE_SHIFT, HOST_BITS, start.options ?? 0) >>> 0;
    this.s2 = this.#initialise(start);
    this.pgt = this.s2.pointer;
    this.#vtcr = this.s2.vtcr | (start.hd === true ? VTCR_HD : 0n);
    for (const [cap, argument] of [NISV_EXITS, ...(start.caps ?? [])]) {
      this.setArguments(maker, [argument]);
      fine("vm_enable_cap", core.vm_enable_cap(this.vm, cap, 0));
    }
    for (const [offset, name] of WORDS) lab.name(this.vm + offset, 8, name);
    for (const slot of start.slots ?? [])
      fine("the first slot", atOnce(this.setSlot(maker.name, slot)));
  }

  #initialise({ table = 0, ipaBits = 0 }: VmStart): Stage2 {
    const bits = OPTION.LOCKING | OPTION.KEEP_PERMISSIONS | table;
    const { context } = this.maker.engine;
    this.setArguments(this.maker, [2, 0x21]); // PARange of 40 bits; VMIDs of 16 bits, hardware access flags
    fine("vm_init", this.maker.core.vm_init(this.vm, ipaBits, bits, 0, 0));
    const shape = {
      kind: KIND_STAGE2,
      pageShift: PAGE_SHIFT,
      bits,
      vtcr: context.result(0),
      rootBytes: context.resultNumber(1),
      iaBits: context.resultNumber(2),
      startLevel: context.resultLevel(3),
      rootPhysical: context.resultNumber(4),
    } as const;
    return Stage2.over(context, context.resultNumber(5), shape, false);
  }

  // ---- arguments and results: words of the agent's own -----------------------------------------------------

  setArguments({ core }: Agent, values: readonly (number | bigint)[]): void {
    const block = core.args() >>> 0;
    for (const [index, value] of values.entries())
      this.lab.write64(block + index * 8, BigInt.asUintN(64, BigInt(value)));
  }

  /** A call with these words in the argument block. */
  *asks(on: Agent, values: readonly (number | bigint)[], call: Call): Part<number> {
    this.setArguments(on, values);
    return yield call;
  }

  /** r[index] of the agent's last call. */
  result({ core }: Agent, index: number): number {
    return Number(BigInt.asIntN(64, this.lab.read64((core.args() >>> 0) + (RESULTS + index) * 8)));
  }

  // ---- guests ------------------------------------------------------------------------------------------------

  /** A vCPU that is loaded, with a `stock` of table pages for its faults: none is allocated while schedules run. */
  guest(name: string, options: VcpuOptions = NO_TLB, stock = true): Guest {
    const on = agent(this.agents, name);
    const cpu = this.cpu(name, options);
    const context = this.context(name);
    if (stock) fine("vm_vcpu_topup", on.core.vm_vcpu_topup(context, STOCK, 0));
    fine("vm_vcpu_load", on.core.vm_vcpu_load(context, cpu));
    return { on, context, cpu };
  }

  /** A CPU that runs nothing yet. */
  cpu(name: string, options: VcpuOptions = NO_TLB): number {
    const { engine, core } = agent(this.agents, name);
    const cpu = engine.vcpu(undefined, options).cpu.pointer;
    this.lab.write64(cpu + STATE.HCR_EL2, HCR_VM_RW);
    this.lab.write64(cpu + STATE.VTCR_EL2, this.#vtcr);
    core.vcpu_configure(cpu);
    return cpu;
  }

  /** A vCPU that is loaded nowhere. */
  context(name: string): number {
    const core = agent(this.agents, name).core;
    return fine("vm_vcpu_create", core.vm_vcpu_create(this.vm, this.#guests++)) >>> 0;
  }

  /** KVM_SET_USER_MEMORY_REGION by this agent: CHANGE, or what failed. */
  setSlot(name: string, slot: SlotStart): Part<number> {
    return setSlot(this, agent(this.agents, name), slot);
  }

  // ---- looks that no scheduler sees ---------------------------------------------------------------------------

  /** The entry that decides `ipa` now. */
  entry(ipa: number): bigint {
    return this.lab.read64(this.lab.entry(this.s2, ipa));
  }

  /** Whether the log of the slot has this page now. */
  isDirty(page: number, slot = 0): boolean {
    fine("vm_slot", this.maker.core.vm_slot(this.vm, slot));
    const bitmap = this.result(this.maker, 4);
    if (bitmap === 0) throw new Error(`slot ${slot} has no log`);
    return ((this.lab.read64(bitmap + (page >> 6) * 8) >> BigInt(page & 63)) & 1n) !== 0n;
  }

  /** invalidate_seq, invalidate_in_progress, active invalidations. */
  get notifiers(): readonly [seq: number, inProgress: number, active: number] {
    this.maker.core.vm_state(this.vm);
    return [0, 1, 2].map((n) => this.result(this.maker, n)) as [number, number, number];
  }

  /** Arguments of the notifier: these pages of the host's address space. */
  hvaRange(page: number, pages = 1): readonly [start: number, end: number] {
    return [HVA + page * PAGE, HVA + (page + pages) * PAGE];
  }

  /** Pointer to guest memory at this physical address. */
  ram(pa: number): number {
    return this.lab.pointer(pa);
  }
}

/** Gives a part of a program as a program. */
export function* whole(part: Part<unknown>): Program {
  yield* part;
}
