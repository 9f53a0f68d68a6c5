/**
 * What is behind host virtual addresses: the interface that a VM asks, and what it is told as the core's bits.
 *
 * It stands for the host's memory management as KVM sees it: the VMAs (`find_vma`), the page that a fault gets
 * (`hva_to_pfn`), how large a leaf the host maps it with (`get_user_mapping_size`). {@link GuestMemory} implements it.
 */
import { ACCESS_KIND, FACT, SLOT_FLAG } from "./_abi.ts";
import { Stage2Error } from "../errors.ts";
import { asynchronous, isPromise } from "./bus.ts";

/** Memory behind host virtual addresses. Addresses and sizes are numbers, in bytes. */
export interface Backing {
  /**
   * Which page is at the `hva`: found, or brought there. It is asked with no lock held. It may be asynchronous, then only
   * {@link VmVcpu.handleAbortAsync} can be used; it may throw or reject, which the caller of the abort handler is told; and
   * it may re-enter the VM, as a host does that breaks copy-on-write: {@link Vm.invalidate}. The `request` is the same
   * object for all aborts of a vCPU: it is good until the abort has been handled. An answer that makes no sense is refused
   * (`BAD_OPTION`): so is one that lies otherwise in its huge page than the `hva` does; of a host's leaf it is mapped alone.
   */
  resolve(request: BackingRequest): BackingAnswer | Promise<BackingAnswer>;
  /** The VMAs behind a new memslot, or one whose flags change: at once, no promise. Default: ordinary memory, or none. */
  inspect?(hva: number, size: number): BackingFacts;
  /** The parts of the range that are mapped and not PFN-mapped, for {@link Vm.unmapAll}: at once. Default: all of it. */
  mapped?(hva: number, size: number): Iterable<{ readonly hva: number; readonly size: number }>;
  /** Reads into all of `into`: whether there was memory. For {@link Vm.readGuest}. */
  read?(hva: number, into: Uint8Array): boolean | Promise<boolean>;
  /** Writes all `bytes`: whether there was memory that may be written. For {@link Vm.writeGuest}. */
  write?(hva: number, bytes: Uint8Array): boolean | Promise<boolean>;
  /**
   * The page was mapped writable: the host has to take it for dirty (`kvm_set_pfn_dirty`). What it throws, the caller of the abort
   * handler is told; the page is mapped all the same.
   */
  dirtied?(pa: number): void;
  /** The page was used (`kvm_set_pfn_accessed`). What it throws, the caller of the abort handler is told; it counts as used. */
  accessed?(pa: number): void;
}

/** Which page a guest's access needs. */
export interface BackingRequest {
  /** Host virtual address of the page: a multiple of the page size. */
  readonly hva: number;
  /** The access is a write: the page must be one that may be written. */
  readonly write: boolean;
  /** The access is an instruction fetch. */
  readonly exec: boolean;
  /** A page was mapped already and its permissions did not suffice. */
  readonly permission: boolean;
  /** Intermediate physical address that failed, in bytes: a multiple of 4 KiB whatever the page size. */
  readonly ipa: number;
  /** Guest frame number: `ipa` in pages. */
  readonly gfn: number;
  /** Memslot. */
  readonly slot: number;
  /** The memslot is read-only: a page that the host could write is mapped without write permission all the same. */
  readonly readonly: boolean;
  /** Id of the vCPU. */
  readonly vcpu: number;
}

/**
 * The page; or "unmapped" (no VMA), "error" (no page can be had, or a write to a read-only VMA), "poisoned" (a hardware
 * error), "retry" (the answer would be void: the guest is to try again).
 */
export type BackingAnswer = HostPage | PoisonedPage | "unmapped" | "error" | "poisoned" | "retry";

/** "poisoned", where more than a page is lost with it. */
export interface PoisonedPage {
  readonly poisoned: true;
  /** Page size of a hugetlb VMA. */
  readonly vmaPageSize?: number;
}

/** A page of the host. */
export interface HostPage {
  /**
   * Physical address of the page at the `hva`, a multiple of the page size; inside of a block, with the offset. Below 2^48, or 2^52
   * where the page table has addresses so long (`lpa2`; 64K pages with `pa52`).
   */
  readonly pa: number;
  /** It may be written now. */
  readonly writable: boolean;
  /** Page size of a hugetlb VMA (4K pages: 64 KiB, 2 MiB, 32 MiB, 1 GiB). Default: an ordinary VMA. */
  readonly vmaPageSize?: number;
  /** What the host's own leaf at the `hva` maps, in bytes; 0: it is not valid at the moment. Default: one page. */
  readonly hostSize?: number;
  /** No ordinary memory. */
  readonly device?: boolean;
  /** A device whose VMA allows Normal non-cacheable. */
  readonly normalNc?: boolean;
  /** The VMA does not allow memory tagging. */
  readonly noMte?: boolean;
}

/** What the VMAs of a range are like. */
export interface BackingFacts {
  /** Some of it is PFN-mapped: its dirty pages cannot be logged. */
  readonly pfnMapped?: boolean;
  /** Some of it does not allow memory tagging. */
  readonly noMte?: boolean;
}

const WORDS: Readonly<Record<string, number>> = {
  unmapped: FACT.NO_VMA,
  error: FACT.ERROR,
  poisoned: FACT.POISON,
  retry: FACT.CHANGED,
};
const LARGEST_PAGE = 2 ** 40;

/** The request of one vCPU, filled in anew for each abort. */
export class Request implements BackingRequest {
  hva = 0;
  write = false;
  exec = false;
  permission = false;
  ipa = 0;
  gfn = 0;
  slot = 0;
  readonly = false;
  readonly vcpu: number;

  constructor(vcpu: number) {
    this.vcpu = vcpu;
  }

  /** Takes over ACCESS_KIND and SLOT_FLAG bits. */
  setKind(kind: number, slotFlags: number): void {
    this.write = (kind & ACCESS_KIND.WRITE) !== 0;
    this.exec = (kind & ACCESS_KIND.EXEC) !== 0;
    this.permission = (kind & ACCESS_KIND.PERMISSION) !== 0;
    this.readonly = (slotFlags & SLOT_FLAG.READONLY) !== 0;
  }
}

/** A checked answer as the core takes it. One object per vCPU. */
export class Resolved {
  pa = 0;
  /** FACT bits. */
  facts = 0;
  vmaShift = 0;
  hostShift = 0;
  readonly #pageShift: number;
  readonly #limit: number;

  /** `limit`: physical addresses that the page table can hold lie below. */
  constructor(pageShift: number, limit: number) {
    this.#pageShift = pageShift;
    this.#limit = limit;
  }

  /** Takes an answer over. @throws Stage2Error `BAD_OPTION` if it is none, and nothing has been taken over. */
  take(answer: BackingAnswer, hva: number): void {
    if (typeof answer === "object" && answer !== null) {
      if ("poisoned" in answer) this.#takePoisoned(answer);
      else this.#takePage(answer, hva);
      return;
    }
    const fact = typeof answer === "string" ? WORDS[answer] : undefined;
    if (fact === undefined) throw nonsense("no page, and none of its words", { answer });
    this.pa = this.vmaShift = this.hostShift = 0;
    this.facts = fact;
  }

  #takePoisoned({ poisoned, vmaPageSize }: PoisonedPage): void {
    if (poisoned !== true) throw nonsense("poisoned must be true", { poisoned });
    const shift =
      vmaPageSize === undefined ? 0 : sizeShift("vmaPageSize", vmaPageSize, this.#pageShift);
    this.pa = this.hostShift = 0;
    this.vmaShift = shift;
    this.facts = FACT.POISON;
  }

  #takePage(page: HostPage, hva: number): void {
    const { pa, vmaPageSize, hostSize } = page;
    const pageShift = this.#pageShift;
    const largest = 2 ** (pageShift === 12 ? 30 : 2 * pageShift - 3);
    if (!Number.isInteger(pa) || pa < 0 || pa >= this.#limit || pa % 2 ** pageShift !== 0) {
      const message = `pa must be a page's address below 2^${Math.log2(this.#limit)}`;
      throw nonsense(message, { pa });
    }
    const block = Math.min(vmaPageSize ?? 0, largest); // more is never mapped at once
    if (block > 0 && pa % block !== hva % block) {
      throw nonsense("pa must lie in its huge page as the hva does", { pa, hva, block });
    }
    const facts = pageFacts(page);
    const vmaShift =
      vmaPageSize === undefined ? 0 : sizeShift("vmaPageSize", vmaPageSize, pageShift);
    const hostShift =
      hostSize === undefined
        ? pageShift
        : hostSize === 0
          ? 0
          : sizeShift("hostSize", hostSize, pageShift);
    this.pa = pa;
    this.facts = facts;
    this.vmaShift = vmaShift;
    this.hostShift = hostShift;
  }
}

function pageFacts(page: HostPage): number {
  const { writable, device, normalNc, noMte } = page;
  if (typeof writable !== "boolean") throw nonsense("writable must be true or false", { writable });
  const nc = flag("normalNc", normalNc, FACT.NORMAL_NC);
  const facts =
    (writable ? FACT.WRITABLE : 0) |
    flag("device", device, FACT.DEVICE) |
    nc |
    flag("noMte", noMte, FACT.NO_MTE);
  if (nc !== 0 && device !== true) throw nonsense("normalNc is for devices", { normalNc });
  return facts;
}

function flag(name: string, value: boolean | undefined, bit: number): number {
  if (value === undefined || value === false) return 0;
  if (value === true) return bit;
  throw nonsense(`${name} must be true or false`, { [name]: value });
}

/** log2 of a page size. */
function sizeShift(name: string, size: number, least: number): number {
  const shift = Math.log2(size);
  if (Number.isInteger(shift) && shift >= least && size <= LARGEST_PAGE) return shift;
  throw nonsense(`${name} must be a power of two, from a page to 2^40`, { [name]: size });
}

/** What `inspect` says, as the core takes it: 1 part of it does not allow MTE, 2 part of it is PFN-mapped. */
export function inspected(backing: Backing | undefined, hva: number, size: number): number {
  if (backing?.inspect === undefined || size === 0) return 0;
  const facts: unknown = backing.inspect(hva, size);
  if (isPromise(facts)) throw asynchronous(facts, "inspect must tell facts at once");
  if (typeof facts !== "object" || facts === null) {
    throw nonsense("inspect must tell facts", { facts });
  }
  const { noMte, pfnMapped } = facts as BackingFacts;
  return flag("noMte", noMte, 1) | flag("pfnMapped", pfnMapped, 2);
}

function nonsense(message: string, details: object): Stage2Error {
  return new Stage2Error("BAD_OPTION", `the backing's answer: ${message}`, details);
}

/** Refuses what cannot be asked. @throws Stage2Error `BAD_OPTION` */
export function checkedBacking(memory: unknown): Backing | undefined {
  if (memory === undefined) return undefined;
  if (typeof (memory as Backing | null)?.resolve === "function") return memory as Backing;
  throw new Stage2Error("BAD_OPTION", "memory must be a backing, with resolve()", { memory });
}
