/**
 * Where the hypervisor of an nVHE host sees what the kernel sees (`kvm_compute_layout`, `kern_hyp_va`, `kvm_mmu_init`). It has one
 * range of addresses, from 0 up, so that kernel addresses lose their ones at the top; V is the kernel's VA_BITS:
 *
 *     kernel  1 ... 1 | k | low V-1 bits        bit V-1 of the kernel: 0 linear map, 1 vmalloc (or the other way round)
 *     hyp     0 ... 0 | r | low V-1 bits        r: what bit V-1 of the idmap page is not
 *
 * so the half of the space around the idmap page, which is mapped to itself, has no kernel address in it.
 */
import { type Granule, pageShift } from "./_options.ts";
import { EFAULT, EINVAL, EPERM, Stage2Error } from "./errors.ts";
import { type Address, address, byteCount, choiceOption, fields, integerOption } from "./range.ts";

/** The page of code that turns the hypervisor's MMU on. */
export interface IdmapPage {
  /** An address in it: it is mapped to itself. */
  pa: Address;
  /** Bits of address that the idmap is made for: 48, or 52 on hosts with 52-bit physical addresses. Default 48. */
  bits?: 48 | 52;
}

/** The kernel's linear map: `__pa` of an address in it is an offset away. */
export interface LinearMap {
  /** First kernel address, on a page. */
  va: bigint;
  /** First physical address, on a page. */
  pa: Address;
  /** Bytes, whole pages; `va` and the last byte have the same bit VA_BITS-1. */
  size: Address;
}

/** What decides where things are. */
export interface HypLayoutOptions {
  /** Page size. Default 4K. */
  granule?: Granule;
  /** The kernel's VA_BITS, 36 to 52. Default 48. */
  vaBits?: number;
  idmap: IdmapPage;
  /** Default: the lower half of the kernel's addresses, from physical address 0. */
  linear?: LinearMap;
  /** Bit VA_BITS-1 of hypervisor addresses of the kernel's, for a layout fixed elsewhere. Default: the opposite of the idmap page's. */
  region?: 0 | 1;
  /** Physical address of a vmalloc page, by its kernel address; `undefined` where nothing is mapped. Default: nothing is. */
  vmalloc?: (va: bigint) => Address | undefined;
}

export const LAYOUT_OPTIONS = ["granule", "vaBits", "idmap", "linear", "region", "vmalloc"];

/** Kernel addresses in whole pages, of one half of the kernel's space. */
export interface KernelRange {
  readonly start: bigint;
  readonly end: bigint;
}

const TOP = 1n << 64n;

export class HypLayout {
  /** VA_BITS of the kernel. */
  readonly vaBits: number;
  /** Input size of the hypervisor's table. */
  readonly hypVaBits: number;
  readonly idmapBits: 48 | 52;
  readonly granule: Granule;
  readonly pageBytes: number;
  /** First address of the idmap page, virtual and physical. */
  readonly idmap: number;
  /** Bit VA_BITS-1, and its value in hypervisor addresses of the kernel's. */
  readonly #topBit: bigint;
  readonly #region: bigint;
  readonly #linear: KernelRange & { readonly pa: number };
  readonly #vmalloc: HypLayoutOptions["vmalloc"];

  /** @throws Stage2Error `BAD_OPTION`, `BAD_ADDRESS`, `BAD_SIZE`; `EINVAL`: unaligned, or the idmap page is out of reach. */
  constructor(options: HypLayoutOptions) {
    const { granule = "4K", idmap, linear, region, vmalloc } = options;
    this.vaBits = integerOption("vaBits", options.vaBits ?? 48, 36, 52);
    this.pageBytes = 2 ** pageShift(granule);
    this.granule = granule;
    this.idmapBits = choiceOption("idmap.bits", fields(idmap).bits ?? 48, [48, 52]);
    this.hypVaBits = Math.max(this.idmapBits, this.vaBits);
    const pa = address(idmap.pa, "idmap.pa");
    if (pa >= 2 ** this.idmapBits)
      throw invalid("the idmap page is out of its bits' reach", { pa });
    this.idmap = pa - (pa % this.pageBytes);
    this.#topBit = 1n << BigInt(this.vaBits - 1);
    const opposite = (BigInt(pa) & this.#topBit) === 0n ? 1 : 0;
    this.#region = BigInt(choiceOption("region", region ?? opposite, [0, 1])) * this.#topBit;
    this.#linear = this.#checkedLinear(linear ?? this.#lowerHalf());
    if (vmalloc !== undefined && typeof vmalloc !== "function") {
      throw new Stage2Error("BAD_OPTION", "vmalloc must be a function", { vmalloc });
    }
    this.#vmalloc = vmalloc;
    this.#refuseIntersection();
  }

  /** Hypervisor address of a kernel address. @throws Stage2Error `BAD_ADDRESS`: it is none of the kernel's. */
  toHyp(va: bigint): bigint {
    return (this.#kernelAddress(va, "kernelVa", TOP - 1n) & (this.#topBit - 1n)) | this.#region;
  }

  /** The linear map in hypervisor addresses, end exclusive. */
  get linear(): { readonly start: number; readonly end: number } {
    const { start, end } = this.#linear;
    return { start: Number(this.toHyp(start)), end: Number(this.toHyp(end - 1n)) + 1 };
  }

  /** The whole pages that hold [from, to). @throws Stage2Error `BAD_ADDRESS`, `BAD_SIZE`; `EINVAL`: in both halves of the space. */
  pages(from: bigint, to: bigint): KernelRange {
    const page = BigInt(this.pageBytes);
    const first = this.#kernelAddress(from, "from", TOP - 1n);
    const end = this.#kernelAddress(to, "to", TOP);
    if (end <= first) throw new Stage2Error("BAD_SIZE", "to must lie above from", { from, to });
    const range = { start: first - (first % page), end: end + ((page - (end % page)) % page) };
    if (this.#sameHalf(range.start, range.end - 1n)) return range;
    throw invalid("the range lies in both halves of the kernel's addresses", { from, to });
  }

  /** First physical address of a range of the linear map. @throws Stage2Error `EINVAL`: it is not all in there, vmalloc for one. */
  linearPhysical(range: KernelRange): number {
    const { start, end, pa } = this.#linear;
    if (range.start >= start && range.end <= end) return pa + Number(range.start - start);
    throw invalid("the range is not in the kernel's linear map", range);
  }

  /** First frame number and count of the pages of [from, to) in the linear map. @throws Stage2Error as above. */
  frames(from: bigint, to: bigint): [pfn: number, pages: number] {
    const range = this.pages(from, to);
    const pages = Number(range.end - range.start) / this.pageBytes;
    return [this.linearPhysical(range) / this.pageBytes, pages];
  }

  /** Physical address of every page of a range; all are known before the first is handed out. @throws Stage2Error `EFAULT`, `EINVAL`. */
  physical(range: KernelRange): Iterable<number> {
    if (!this.#sameHalf(range.start, this.#linear.start)) return this.#vmallocPages(range);
    return steps(this.linearPhysical(range), Number(range.end - range.start), this.pageBytes);
  }

  #vmallocPages({ start, end }: KernelRange): number[] {
    const pages: number[] = [];
    for (let va = start; va < end; va += BigInt(this.pageBytes)) {
      const answer = this.#vmalloc?.(va);
      if (answer === undefined) {
        throw new Stage2Error("EFAULT", "no page is mapped at the kernel address", { va }, EFAULT);
      }
      const pa = address(answer, "vmalloc");
      if (pa % this.pageBytes !== 0) throw invalid("vmalloc must answer with a page", { va, pa });
      pages.push(pa);
    }
    return pages;
  }

  #lowerHalf(): LinearMap {
    return { va: TOP - 2n * this.#topBit, pa: 0, size: this.#topBit };
  }

  #checkedLinear(linear: LinearMap): KernelRange & { readonly pa: number } {
    const start = this.#kernelAddress(fields(linear).va, "linear.va", TOP - 1n);
    const pa = address(linear.pa, "linear.pa");
    const size = byteCount(linear.size, pa);
    const end = start + BigInt(size);
    const aligned = [Number(start & 0xffffn), pa, size].every((n) => n % this.pageBytes === 0);
    if (!aligned) throw invalid("the linear map must be whole pages", linear);
    if (end <= TOP && this.#sameHalf(start, end - 1n)) return { start, end, pa };
    throw invalid("the linear map must lie in one half of the kernel's addresses", linear);
  }

  /** The idmap page may not take an address that the linear map has for something else. */
  #refuseIntersection(): void {
    const { start, end } = this.linear;
    const physical = this.#linear.pa + (this.idmap - start);
    if (this.idmap < start || this.idmap >= end || physical === this.idmap) return;
    throw invalid("the idmap page intersects with the linear map", { idmap: this.idmap });
  }

  #kernelAddress(va: bigint, name: string, last: bigint): bigint {
    if (typeof va === "bigint" && va >= TOP - 2n * this.#topBit && va <= last) return va;
    const message = `${name} must be a kernel address, a bigint: bits 63 to ${this.vaBits} are ones`;
    throw new Stage2Error("BAD_ADDRESS", message, { [name]: va });
  }

  #sameHalf(one: bigint, other: bigint): boolean {
    return ((one ^ other) & this.#topBit) === 0n;
  }
}

/** The error for what the reference answers with -EINVAL. */
export function invalid(message: string, details: object): Stage2Error {
  return new Stage2Error("EINVAL", message, details, EINVAL);
}

/** The same for -EPERM. */
export function denied(message: string): Stage2Error {
  return new Stage2Error("EPERM", message, {}, EPERM);
}

function* steps(first: number, bytes: number, step: number): Generator<number, void, undefined> {
  for (let offset = 0; offset < bytes; offset += step) yield first + offset;
}
