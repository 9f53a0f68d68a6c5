/** All that the hypervisor knows, and how the calls find their way in it. */
import { HANDLE_OFFSET, MAX_VMS, type PKVM_OPTION } from "../../../src/pkvm/_abi.ts";
import { PKVM_OPTION as OPTION } from "../../../src/pkvm/_abi.ts";
import type { World } from "../world.ts";
import { type Geometry, geometryOf } from "./geometry.ts";
import { Memory } from "./memory.ts";
import type { Vcpu, Vm } from "./vm.ts";
import { EINVAL, ERANGE, type Memcache, type Words, below } from "./words.ts";

/** A hypercall as it arrives: who called is the CPU. */
export interface Call {
  readonly cpu: number;
  readonly args: Words;
  readonly memcache?: Memcache | undefined;
}

/** What a hypercall answers and does. A number: nothing else can come of it. */
export type Rule = (state: State, call: Call) => number;

/** A vCPU that a CPU has loaded. */
export interface Loaded {
  readonly vm: Vm;
  readonly vcpu: Vcpu;
}

/** Guests that a call is for. What the hypervisor's own test calls is for either. */
export type Kind = "protected" | "not protected" | "either";

const isOf = (kind: Kind, { isProtected }: Vm): boolean =>
  kind === "either" || isProtected === (kind === "protected");

export class State {
  readonly world: World;
  readonly geometry: Geometry;
  readonly memory: Memory;
  readonly vms = new Map<number, Vm>();
  /** Handles that were promised. */
  readonly reserved = new Set<number>();
  /** By CPU. */
  readonly loaded = new Map<number, Loaded>();
  /** CPUs whose protection is final. */
  readonly final = new Set<number>();
  /** Pages that the host's kernel has to hand out. */
  readonly hostFree = new Set<number>();

  constructor(world: World) {
    this.world = world;
    this.geometry = geometryOf(world);
    this.memory = new Memory(world);
    const { pa, size } = world.hostPages;
    const page = 2 ** world.pageShift;
    for (let at = pa; at < pa + size; at += page) this.hostFree.add(at / page);
  }

  has(option: keyof typeof PKVM_OPTION): boolean {
    return (this.world.options & OPTION[option]) !== 0;
  }

  /** The VM of this handle, if it lives. */
  vm(handle: bigint): Vm | undefined {
    return this.vms.get(below(handle, HANDLE_OFFSET + MAX_VMS) ?? -1);
  }

  isReserved(handle: bigint): boolean {
    return this.reserved.has(below(handle, HANDLE_OFFSET + MAX_VMS) ?? -1);
  }

  /** The lowest handle that nobody has. */
  freeHandle(): number | undefined {
    for (let handle = HANDLE_OFFSET; handle < HANDLE_OFFSET + MAX_VMS; handle++)
      if (!this.vms.has(handle) && !this.reserved.has(handle)) return handle;
    return undefined;
  }

  /** The vCPU that this CPU has loaded, of a VM of this kind. */
  loadedOn(cpu: number, kind: Kind): Loaded | undefined {
    const loaded = this.loaded.get(cpu);
    return loaded !== undefined && isOf(kind, loaded.vm) ? loaded : undefined;
  }

  /** A guest of this kind, by handle. */
  vmOf(kind: Kind, handle: bigint): Vm | undefined {
    const vm = this.vm(handle);
    return vm !== undefined && isOf(kind, vm) ? vm : undefined;
  }

  /** Whether so many pages can be asked for at once, at these (aligned) addresses: 0, or -EINVAL. */
  checkSize(pages: bigint, ...addresses: Words): number {
    if (pages === 1n) return 0;
    const block = BigInt(this.geometry.blockPages);
    if (this.has("PAGES") || pages !== block) return -EINVAL;
    return addresses.every((address) => address % block === 0n) ? 0 : -EINVAL;
  }

  /** The guest page as a number, if guests have as many; else -ERANGE. */
  guestPages(gfn: bigint, pages: bigint): number {
    const { guestPages } = this.geometry;
    return gfn + pages <= BigInt(guestPages) ? Number(gfn) : -ERANGE;
  }
}
