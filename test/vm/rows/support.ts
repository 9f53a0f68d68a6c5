/** What the row tests share: a backing of plain facts, aborts by their fields, a guest that faults step by step. */
import { expect } from "vitest";
import {
  type AbortOutcome,
  type Backing,
  type BackingAnswer,
  type BackingRequest,
  type Event,
  type Granule,
  type HostPage,
  type Leaf,
  Prot,
  type Vm,
  type VmOptions,
  type VmVcpu,
} from "../../../src/index.ts";
import type { Lab } from "../../support.ts";
import { makeVm } from "../kind.ts";

/** Where slots, their backing and its pages lie, unless a test says otherwise: aligned to every block size. */
export const IPA = 0x1_0000_0000;
export const HVA = 0x7e00_0000_0000;
export const PA = 0x10_0000_0000;

export const GRANULES: readonly Granule[] = ["4K", "16K", "64K"];
/** Bytes that leaves map: a page, a level-2 block, the largest block. */
export const SIZES: Readonly<Record<Granule, { page: number; block: number; largest: number }>> = {
  "4K": { page: 2 ** 12, block: 2 ** 21, largest: 2 ** 30 },
  "16K": { page: 2 ** 14, block: 2 ** 25, largest: 2 ** 25 },
  "64K": { page: 2 ** 16, block: 2 ** 29, largest: 2 ** 29 },
};

export const INSTRUCTION_ABORT = 0x20;
export const DATA_ABORT = 0x24;
/** Fault status codes of level 0; add the level. */
export const TRANSLATION = 0x04;
export const ACCESS_FLAG = 0x08;
export const PERMISSION = 0x0c;

/** A guest abort, field by field. */
export interface AbortShape {
  /** Bits below 4 KiB do not reach HPFAR_EL2, but FAR_EL2 has them, as with stage 1 off. */
  ipa: number | bigint;
  ec?: number;
  fsc?: number;
  write?: boolean;
  s1ptw?: boolean;
  cm?: boolean;
  il?: boolean;
  far?: number | bigint;
  /** ISV and what comes with it. */
  access?: { size: 1 | 2 | 4 | 8; register?: number; signExtend?: boolean; sixtyFour?: boolean };
}

const bit = (on: boolean | undefined, at: number): bigint => (on === true ? 1n << BigInt(at) : 0n);

/** ESR_EL2, FAR_EL2 and HPFAR_EL2 of an abort: by default a read that finds nothing at level 3. */
export function abort(shape: AbortShape): { esr: bigint; far: bigint; hpfar: bigint } {
  const { ipa, ec = DATA_ABORT, fsc = TRANSLATION + 3, il = true, far = ipa } = shape;
  const esr =
    (BigInt(ec) << 26n) |
    bit(il, 25) |
    bit(shape.cm, 8) |
    bit(shape.s1ptw, 7) |
    bit(shape.write, 6) |
    BigInt(fsc);
  const hpfar = (BigInt(ipa) >> 12n) << 4n;
  return { esr: esr | instruction(shape), far: BigInt(far), hpfar };
}

function instruction({ access }: AbortShape): bigint {
  if (access === undefined) return 0n;
  const { size, register = 0, signExtend, sixtyFour = size === 8 } = access;
  const sas = BigInt(Math.log2(size)) << 22n;
  return bit(true, 24) | sas | bit(signExtend, 21) | (BigInt(register) << 16n) | bit(sixtyFour, 15);
}

/** A backing whose facts are set page by page. What was not set is ordinary memory: one RW page at {@link PA} + offset. */
export class Facts implements Backing {
  readonly asked: BackingRequest[] = [];
  readonly dirty: number[] = [];
  readonly young: number[] = [];
  /** Runs before an answer is given: what others do meanwhile. */
  meanwhile: ((request: BackingRequest) => void) | undefined;
  /** Facts of all pages that have none of their own. */
  everywhere: BackingAnswer | Partial<HostPage> = {};
  inspection: { pfnMapped?: boolean; noMte?: boolean } = {};
  parts: ((hva: number, size: number) => Iterable<{ hva: number; size: number }>) | undefined;
  readonly written: [hva: number, bytes: number][] = [];
  readonly #pages = new Map<number, BackingAnswer | Partial<HostPage>>();

  set(hva: number, facts: BackingAnswer | Partial<HostPage>): void {
    this.#pages.set(hva, facts);
  }

  resolve(request: BackingRequest): BackingAnswer {
    this.asked.push({ ...request }); // the object is used again
    this.meanwhile?.(request);
    const facts = this.#pages.get(request.hva) ?? this.everywhere;
    if (typeof facts === "string" || "poisoned" in facts) return facts;
    return { pa: PA + (request.hva - HVA), writable: true, ...facts };
  }

  inspect(): { pfnMapped?: boolean; noMte?: boolean } {
    return this.inspection;
  }

  mapped(hva: number, size: number): Iterable<{ hva: number; size: number }> {
    return this.parts?.(hva, size) ?? [{ hva, size }];
  }

  read(_hva: number, into: Uint8Array): boolean {
    into.fill(0x5a);
    return this.everywhere !== "unmapped";
  }

  write(hva: number, bytes: Uint8Array): boolean {
    this.written.push([hva, bytes.length]);
    return this.everywhere !== "unmapped";
  }

  dirtied(pa: number): void {
    this.dirty.push(pa);
  }

  accessed(pa: number): void {
    this.young.push(pa);
  }
}

export interface GuestOptions extends VmOptions {
  /** Bytes of slot 0, at {@link IPA} over {@link HVA}; 0: no slot. Default 4 level-2 blocks. */
  size?: number;
  flags?: number;
  /** Bytes of memory from {@link PA} on that its pages are of. Default 8 level-2 blocks, at least 1.25 GiB. */
  frames?: number;
}

/** A block of every size, and something behind it. */
const LEAST_FRAMES = 1.25 * 2 ** 30;

/** Events of these kinds; one shape may have several. */
type Said<E, K> = E extends { readonly kind: infer T }
  ? [Extract<T, K>] extends [never]
    ? never
    : E & { readonly kind: Extract<T, K> }
  : never;

/** Software's own bits of a descriptor: where a hypervisor keeps the table, the states of pages are there. */
const SOFTWARE = Prot.SW0 | Prot.SW1 | Prot.SW2 | Prot.SW3;

/** A leaf as far as it matters to the CPU. */
function asHardware<L extends Pick<Leaf, "prot">>(leaf: L): L {
  return { ...leaf, prot: leaf.prot & ~SOFTWARE };
}

/** A VM with one slot and one vCPU, which makes its faults one by one. */
export class Guest {
  readonly facts = new Facts();
  readonly vm: Vm;
  readonly vcpu: VmVcpu;
  readonly page: number;
  readonly block: number;
  readonly largest: number;
  readonly #here: Lab;

  constructor(here: Lab, { size, frames, flags = 0, ...options }: GuestOptions = {}) {
    this.#here = here;
    const sizes = SIZES[options.granule ?? "4K"];
    this.page = sizes.page;
    this.block = sizes.block;
    this.largest = sizes.largest;
    const bytes = size ?? 4 * sizes.block;
    const pages = { pa: PA, size: frames ?? Math.max(8 * this.block, LEAST_FRAMES) };
    this.vm = here.keep(makeVm(here.engine, { memory: this.facts, ...options }, pages));
    if (bytes > 0) this.vm.setMemslot({ slot: 0, ipa: IPA, size: bytes, hva: HVA, flags });
    this.vcpu = this.vm.createVcpu();
  }

  fault(shape: AbortShape): AbortOutcome {
    return this.vcpu.handleAbort(abort(shape));
  }

  /** Translation faults, at level 3. */
  read(ipa: number): AbortOutcome {
    return this.fault({ ipa });
  }

  write(ipa: number): AbortOutcome {
    return this.fault({ ipa, write: true });
  }

  exec(ipa: number): AbortOutcome {
    return this.fault({ ipa, ec: INSTRUCTION_ABORT });
  }

  /** Permission faults on a leaf of `level`. */
  writeDenied(ipa: number, level = 3): AbortOutcome {
    return this.fault({ ipa, write: true, fsc: PERMISSION + level });
  }

  execDenied(ipa: number, level = 3): AbortOutcome {
    return this.fault({ ipa, ec: INSTRUCTION_ABORT, fsc: PERMISSION + level });
  }

  /** The leaf that maps `ipa`, if one does. */
  leaf(ipa: number): Leaf | undefined {
    const entry = this.vm.stage2.getLeaf(ipa);
    return entry.kind === "leaf" ? asHardware(entry) : undefined;
  }

  get leaves(): Leaf[] {
    return [...this.vm.stage2.leaves()].map(asHardware);
  }

  /** What was logged since the last look, of these kinds. */
  logged<K extends Event["kind"]>(...kinds: K[]): Said<Event, K>[] {
    const all = [...this.#here.engine.events.drain()];
    return all.filter((event) => kinds.includes(event.kind as K)) as Said<Event, K>[];
  }

  /** Everything logged so far is forgotten. */
  forget(): void {
    this.#here.engine.events.clear();
  }

  /** Pages of the dirty log of a slot, and the log is taken. */
  dirtyPages(slot = 0): number[] {
    return [...this.vm.getDirtyLog(slot)];
  }
}

/** The dirty log as a bitmap of exactly these pages. */
export function bitmapOf(pages: number, set: readonly number[]): BigUint64Array {
  const bits = new BigUint64Array(Math.ceil(pages / 64));
  for (const page of set) bits[page >> 6]! |= 1n << BigInt(page & 63);
  return bits;
}

/** The abort was handled: the guest goes on. */
export function expectResume(outcome: AbortOutcome): void {
  expect(outcome).toMatchObject({ reason: "resume", ret: 1 });
}

export const LOG = 1;
export const READONLY = 2;
