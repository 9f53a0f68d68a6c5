/**
 * The bed that litmus tests are made in: one small page table, vCPUs of the agents, a little guest memory, and looks at all of
 * it that no scheduler sees.
 *
 *   IPA   0 .. 2 MiB   pages of one last-level table: `page(n)` is page n of it
 *   PA    RAM          16 pages of guest memory: page n is RAM + n * PAGE; `A` and `B` are the first two
 */
import { ACCESS, CACHE_UNLIMITED, COUNTER, OP, STATE } from "../../../src/_abi.ts";
import type { Agent, Lab, Program } from "../../../src/explorer/litmus.ts";
import { Prot, type Stage2, type Stage2Options, type VcpuOptions } from "../../../src/index.ts";

export { ACCESS, CACHE_UNLIMITED, COUNTER, OP, STATE };

export const PAGE = 4096;
export const BLOCK = 512 * PAGE;

/** Guest memory of every world that asks for it (`options: { guestRam: RAM }`). */
export const RAM = { pa: 0x8_0000_0000, size: 16 * PAGE } as const;
/** Two physical pages: what is mapped first, and what may take its place. */
export const A = RAM.pa;
export const B = RAM.pa + PAGE;

/** Bits of a stage-2 entry. */
export const BIT = {
  VALID: 1n,
  TYPE: 1n << 1n,
  R: 1n << 6n,
  W: 1n << 7n,
  AF: 1n << 10n,
  DBM: 1n << 51n,
  XN: 1n << 54n,
} as const;
/** An entry that somebody is changing. */
export const LOCKED = BIT.AF;

const ADDRESS = 0x0000_ffff_ffff_f000n;

/** What a translation fails with: `vcpu_translate` answers `faultAt(kind, level)`. */
export const FAULT = { TRANSLATION: 0x04, ACCESS_FLAG: 0x08, PERMISSION: 0x0c } as const;

export const EAGAIN = -11;

export function faultAt(kind: number, level: number): number {
  return -1 - (kind + level);
}

export function isValid(entry: bigint): boolean {
  return (entry & BIT.VALID) !== 0n;
}

/** Valid and young: bit 10 of an invalid entry is the locked marker, no access flag. */
export function isYoung(entry: bigint): boolean {
  return (entry & (BIT.VALID | BIT.AF)) === (BIT.VALID | BIT.AF);
}

export function isWritable(entry: bigint): boolean {
  return (entry & (BIT.VALID | BIT.W)) === (BIT.VALID | BIT.W);
}

export function isExecutable(entry: bigint): boolean {
  return (entry & (BIT.VALID | BIT.XN)) === BIT.VALID;
}

/** Prot bits of a valid entry of normal memory. */
function rightsOf(entry: bigint): number {
  const read = entry & BIT.R ? Prot.R : 0;
  const write = entry & BIT.W ? Prot.W : 0;
  return read | write | (isExecutable(entry) ? Prot.X : 0);
}

/** Output address of a valid entry; undefined of others. */
export function outputOf(entry: bigint): number | undefined {
  return isValid(entry) ? Number(entry & ADDRESS) : undefined;
}

/** The entry as text: 0, LK, or what it maps, as in "RW1@A" (rights, access flag, page of guest memory). */
export function say(entry: bigint): string {
  if (entry === 0n) return "0";
  if (entry === LOCKED) return "LK";
  if (!isValid(entry)) return `0x${entry.toString(16)}`;
  const rights = `${entry & BIT.R ? "R" : ""}${entry & BIT.W ? "W" : ""}${entry & BIT.XN ? "" : "X"}`;
  const at = Number(entry & ADDRESS) - RAM.pa;
  const inRam = at >= 0 && at < RAM.size;
  const where = inRam ? String.fromCharCode(65 + at / PAGE) : `0x${(at + RAM.pa).toString(16)}`;
  return `${rights}${isYoung(entry) ? 1 : 0}${entry & BIT.DBM ? "+DBM" : ""}@${where}`;
}

/** Tables whose operations take mmu_lock themselves. */
export const LOCKING = { locking: true } as const;
/** A CPU that walks for every access, by the straight descent where it may. */
export const NO_TLB: VcpuOptions = { tlb: false };
/** A CPU with a TLB that holds all that a test touches. */
export const WITH_TLB: VcpuOptions = { tlb: { sets: 1, ways: 8 } };
/** The same two with dirty state managed by hardware. */
export const NO_TLB_HD: VcpuOptions = { tlb: false, hd: true };
export const WITH_TLB_HD: VcpuOptions = { tlb: { sets: 1, ways: 8 }, hd: true };

/** A table of which somebody wants to see steps (none that these tests make): its calls take no short way, they visit entries. */
export const VISITING: Stage2Options = { events: ["tables"] };

/** A leaf to start from. */
export interface Start {
  readonly pa?: number;
  readonly prot?: number;
  /** Access flag. Default set. */
  readonly young?: boolean;
  /** May hardware make it writable (DBM)? Default no. */
  readonly dbm?: boolean;
}

export type Agents = Readonly<Record<string, Agent>>;

/** The agent of this name. */
export function agent(agents: Agents, name: string): Agent {
  const found = agents[name];
  if (found === undefined) throw new Error(`there is no agent ${name}`);
  return found;
}

/** One page table and what is around it. Made in `setup`; the looks at it are for any time. */
export class Bed {
  readonly lab: Lab;
  readonly s2: Stage2;
  /** Pointer of the table, the same for every agent. */
  readonly pgt: number;
  readonly #agents: Agents;
  readonly #maker: Agent;

  /** The table is the first agent's; hardware sets access flags unless `options` say otherwise. */
  constructor(agents: Agents, lab: Lab, options: Stage2Options = {}) {
    const [maker] = Object.values(agents);
    if (maker === undefined) throw new Error("a litmus test needs agents");
    this.lab = lab;
    this.#agents = agents;
    this.#maker = maker;
    this.s2 = maker.engine.stage2(options);
    this.pgt = this.s2.pointer;
  }

  /** A vCPU of this agent's thread: its pointer. Default without a TLB. */
  vcpu(name: string, options: VcpuOptions = NO_TLB): number {
    const { engine } = agent(this.#agents, name);
    const own = engine === this.#maker.engine ? this.s2 : engine.attachStage2(this.s2.handle);
    return engine.vcpu(own, options).cpu.pointer;
  }

  /** Maps page `n`: the pointer of its entry. */
  page(n: number, start: Start = {}): number {
    return this.leaf(n * PAGE, PAGE, start);
  }

  /** Maps the first 2 MiB by a block: the pointer of its entry. */
  block(start: Start = {}): number {
    return this.leaf(0, BLOCK, start);
  }

  /** Maps `size` bytes at `ipa` in this state; every leaf has it, the pointer of the first one comes back. */
  leaf(
    ipa: number,
    size: number,
    { pa = A, prot = Prot.RW, young = true, dbm = false }: Start,
  ): number {
    this.s2.map({ ipa, size, pa, prot });
    for (let at = ipa; at < ipa + size;) {
      const pointer = this.lab.entry(this.s2, at);
      const entry = this.lab.read64(pointer);
      if (outputOf(entry) !== pa + (at - ipa) || rightsOf(entry) !== prot)
        throw new Error(`IPA 0x${at.toString(16)} was mapped already: ${say(entry)}`); // KVM left it as it was
      this.lab.write64(pointer, (young ? entry : entry & ~BIT.AF) | (dbm ? BIT.DBM : 0n));
      at += entry & BIT.TYPE ? PAGE : BLOCK;
    }
    return this.lab.entry(this.s2, ipa);
  }

  /** Builds the tables down to page `n` and leaves it empty: the pointer of its entry. Some other page holds the table. */
  hole(n: number, holder = 511): number {
    this.page(holder, { pa: A + 15 * PAGE });
    return this.lab.entry(this.s2, n * PAGE);
  }

  /** What the entry at `pointer` holds now. */
  entry(pointer: number): bigint {
    return this.lab.read64(pointer);
  }

  /** Pointer to guest memory at this physical address. */
  ram(pa: number): number {
    const pointer = this.#maker.core.map_pointer(pa) >>> 0;
    if (pointer === 0) throw new Error(`there is no guest memory at 0x${pa.toString(16)}`);
    return pointer;
  }

  /** Puts a word of 32 bits into guest memory. */
  fillRam(pa: number, value: number): number {
    const pointer = this.ram(pa);
    const low = pointer & ~7;
    const shift = pointer & 4 ? 32n : 0n;
    const kept = this.lab.read64(low) & ~(0xffff_ffffn << shift);
    this.lab.write64(low, kept | (BigInt(value >>> 0) << shift));
    return pointer;
  }
}

/** A counter of a vCPU (COUNTER), now. */
export function counted(lab: Lab, vcpu: number, counter: number): number {
  return Number(lab.read64(vcpu + STATE.COUNTERS + counter * 8));
}

/** How often this vCPU has set an access flag of stage 2. */
export function flagsSet(lab: Lab, vcpu: number): number {
  return counted(lab, vcpu, COUNTER.AF_STAGE2);
}

/** What calls answered, by the names that a test gave them. A call that has not ended has none. */
export type Answers = Record<string, number>;

/** A program of these calls in this order; what each answers is kept under its name. */
export function* calls(
  answers: Answers,
  steps: Readonly<Record<string, () => number | void>>,
): Program {
  for (const [name, step] of Object.entries(steps)) answers[name] = yield step;
}

/** The first sentence whose condition holds. */
export function forbidden(...claims: readonly (readonly [boolean, string])[]): string | undefined {
  return claims.find(([holds]) => holds)?.[1];
}
