/**
 * A guest's stage 2 whose page table the hypervisor keeps: each operation of {@link Stage2} by hypercalls (`pkvm_pgtable_stage2_*`). What
 * the host knows is a map of its own, from guest pages to its pages, which mirrors the table.
 *
 *     const s2 = pkvm.stage2();
 *     s2.map({ ipa: 0x4000_0000, size: 4096, pa: 0x8000_0000, prot: Prot.RW }); // shares the page with the guest
 *     pkvm.pageState(0x8000_0000).guestMappings; // 1
 */
import { KIND_STAGE2, OPTION } from "../_abi.ts";
import { type Context, disposed } from "../_context.ts";
import { Stage2Operations } from "../_operations.ts";
import { type EventGroup, eventMask } from "../_options.ts";
import { type Ending, TableCore, checkPointer, reportedShape } from "../_table.ts";
import { type Stage2Handle, checkedTableHandle, keeperOf } from "../_view.ts";
import { Stage2Error } from "../errors.ts";
import { type Range, flagOption, integerOption, knownOptions, span } from "../range.ts";
import type { ForcePages, UnlinkedRequest } from "../requests.ts";
import type { AttachedOptions } from "../stage2.ts";
import type { MachinePlace } from "./_place.ts";
import type { HypMemcache } from "./memcache.ts";
import { CPU_BITS } from "./options.ts";
import { RawPkvmStage2 } from "./raw.ts";

/** What a guest is made with. */
export interface PkvmStage2Options {
  /** vCPUs that it has, 1 to 512: as many threads can map at a time. Default: one for each thread that can attach to the engine. */
  vcpus?: number;
  /** Its memory is donated, not shared: the host cannot reach it any more, and the guest may do all with it, whatever `prot` says. Needs the feature `protectedGuests`. Default off. */
  protectedGuest?: boolean;
  /** Groups of events that its table logs. Default none. */
  events?: readonly EventGroup[];
  /** Answers for each map whether it must use pages: a block is refused then (`EINVAL`). Default: never. */
  forcePages?: ForcePages;
  /**
   * With the feature `epermIsAgain`: more refusals than this in a row on one page are thrown (`EPERM`), as the guest can never have it. 0 to
   * 2^31 - 1; default 0: any number is "again", as in the kernel that did so.
   */
  retryLimit?: number;
}

/** What another thread needs to use it: {@link Engine.attachPkvmStage2}. It can be posted. */
export interface PkvmStage2Handle extends Stage2Handle {
  /** The machine that it is on. */
  readonly machine: number;
}

/** A record of what is shared with the guest: a page, or a block. */
export interface PkvmMapping {
  readonly ipa: number;
  readonly pa: number;
  readonly size: number;
}

/** Counts of the host's side. */
export interface PkvmStage2Statistics {
  readonly mappings: number;
  /** Pages of 4 KiB that the records take, and the height of their tree. */
  readonly treePages: number;
  readonly treeHeight: number;
  /** What kernels warn of: operations that pKVM does not have, hypercalls that failed and should not. */
  readonly warnings: number;
  /** Hypercalls refused with EPERM that were told as "again" (feature `epermIsAgain`), and the most in a row on one page: a guest that can
   *  never have its page faults for ever. */
  readonly refusals: number;
  readonly refusalsInARow: number;
}

const MOST_VCPUS = 512;
const MOST = 2 ** 31 - 1;
const PROTECTED = 1;
const NAMES = ["vcpus", "protectedGuest", "events", "forcePages", "retryLimit"];

/** Why a page table cannot be attached to as a guest's. */
const NO_GUEST = {
  none: "the page table is of no pKVM machine: attachStage2",
  vm: "the page table is a VM's: attachVm",
  hypervisor: "the page table is the hypervisor's alone: attachPkvm",
} as const;

const destroyGuest: Ending = (core, pointer) => core.el1_destroy(pointer);

/**
 * A guest of a pKVM machine. Its interface is that of {@link Stage2}, with what pKVM refuses: a range that is mapped is one page, or one
 * block (2 MiB with 4K pages) where the machine has `blocks` (else `EINVAL`); `prot` is R, W and X alone; {@link split} and
 * {@link createUnlinked} do not exist; a TLB flush is one of the VMID. What the hypervisor refuses is thrown with its errno: `EPERM` for a
 * page that is not the host's to share. Leaves have its state of the page in software bits of their `prot`; those of a protected guest
 * have R, W and X, whatever {@link map} was told: {@link wrprotect}, {@link relaxPerms} and {@link mkyoung} of such a page are refused
 * (`EINVAL`, and a warning), and it is never young. Of a range that leaves the input space only {@link map}, {@link relaxPerms} and
 * {@link mkyoung} say `ERANGE`: all else does what is to be done to mappings in it, of which there are none.
 *
 * Operations take the lock that they need by themselves, as with {@link Stage2Options.locking}: {@link relaxPerms}, {@link mkyoung} and
 * {@link tlbFlushRange} the read side; with `mappingsLock` so does a {@link map} with {@link WalkFlag.SHARED}, so that several threads
 * map at a time; all else the write side. With a lock of the caller's that is of another table, or a side that does not suffice, they are refused
 * (`EDEADLK`), be there other threads or not. A thread that maps runs one of the guest's vCPUs, which it keeps loaded.
 */
export class PkvmStage2 extends Stage2Operations<HypMemcache> {
  override readonly raw: RawPkvmStage2;
  readonly #machine: number;

  private constructor(table: TableCore, machine: number, forcePages?: ForcePages) {
    super(table, forcePages);
    this.#machine = machine;
    this.raw = new RawPkvmStage2(table, machine);
  }

  /** @internal */
  static create(place: MachinePlace, options: PkvmStage2Options): PkvmStage2 {
    knownOptions("pkvm.stage2", options, NAMES);
    const { forcePages } = options;
    if (forcePages !== undefined && typeof forcePages !== "function") {
      throw new Stage2Error("BAD_OPTION", "forcePages must be a function", { forcePages });
    }
    const { vcpus } = options;
    const limit = integerOption("retryLimit", options.retryLimit ?? 0, 0, MOST);
    const count = vcpus === undefined ? 0 : integerOption("vcpus", vcpus, 1, MOST_VCPUS);
    const isProtected = flagOption("protectedGuest", options.protectedGuest ?? false);
    const mask = eventMask(options.events ?? []);
    const { context, pointer: machine } = place;
    const bits = (place.table & CPU_BITS) | OPTION.LOCKING;
    const flags = isProtected ? PROTECTED : 0;
    const status = context.core.el1_create(machine, count, flags, bits, mask);
    const pointer = checkPointer(status, "pkvm.stage2", options);
    const { pageShift } = place;
    const shape = reportedShape(context, { kind: KIND_STAGE2, pageShift, bits });
    context.core.el1_set_retry_limit(pointer, limit);
    const table = new TableCore(context, pointer, shape, true, destroyGuest);
    return new PkvmStage2(table, machine, forcePages);
  }

  /** @internal */
  static attach(context: Context, handle: PkvmStage2Handle, options: AttachedOptions): PkvmStage2 {
    knownOptions("attachPkvmStage2", options, ["own"]);
    const own = flagOption("own", options.own ?? false);
    const { pointer, shape } = checkedTableHandle(context, handle);
    const keeper = keeperOf(context, pointer);
    if (keeper !== "guest") throw new Stage2Error("BAD_OPTION", NO_GUEST[keeper]);
    context.core.el1_describe(pointer);
    const machine = context.resultNumber(0);
    if (handle.machine !== machine || context.core.pkvm_generation(machine) === 0) {
      throw new Stage2Error("BAD_OPTION", "the page table is of another pKVM machine");
    }
    const table = new TableCore(context, pointer, shape, own, destroyGuest);
    return new PkvmStage2(table, machine);
  }

  /** For {@link Engine.attachPkvmStage2} in another thread. */
  override get handle(): PkvmStage2Handle {
    return { ...super.handle, machine: this.#machine };
  }

  /** By which number hypercalls name the guest: 0x1000 and up. */
  get vmHandle(): number {
    return this.#described(1);
  }

  /** Not supported: null, and a warning, as `pkvm_pgtable_stage2_create_unlinked`. */
  createUnlinked(request?: UnlinkedRequest): null {
    void request;
    this.context.core.el1_create_unlinked(this.#live);
    return null;
  }

  /** Not supported: a warning, as `pkvm_pgtable_stage2_free_unlinked`. */
  freeUnlinked(table?: null): void {
    void table;
    this.context.core.el1_free_unlinked(this.#live);
  }

  /**
   * What the host notes of the range (default: all), ascending; lazy. It is what the guest's table holds,
   * wherever no lock is held; but for pages that were taken back from a protected guest by force, until they are unmapped.
   * @throws Stage2Error `BAD_ADDRESS`, `BAD_SIZE`; `ETIMEDOUT`, `EDEADLK`, `EBUSY` as {@link MmuLock.read}
   */
  *mappings(range?: Range): Generator<PkvmMapping, void, undefined> {
    const { ipa, size } = range === undefined ? { ipa: 0, size: Infinity } : span(range);
    const { context } = this;
    for (let next = ipa; next < ipa + size;) {
      const status = context.core.el1_mapping(this.pointer, next);
      if (this.done(status, "mappings", range ?? {}) === 0) return;
      const [first, pa] = [context.resultNumber(0), context.resultNumber(1)];
      const mapping = { ipa: first, pa, size: context.resultNumber(2) };
      if (first >= ipa + size) return;
      yield mapping;
      next = first + mapping.size;
    }
  }

  /** See {@link PkvmStage2Statistics.warnings}. */
  get warnings(): number {
    return this.#described(5);
  }

  get statistics(): PkvmStage2Statistics {
    return {
      mappings: this.#described(2),
      treePages: this.#described(3),
      treeHeight: this.#described(4),
      warnings: this.#described(5),
      refusals: this.#described(6),
      refusalsInARow: this.#described(7),
    };
  }

  /**
   * Unshares everything that is mapped and tears the VM down, if this object made it; an attached object only lets go. A second call does nothing.
   * @throws Stage2Error `EBUSY` while one of its vCPUs is loaded by a hypercall; `ETIMEDOUT`, `EDEADLK` as {@link Stage2.dispose}.
   */
  override dispose(): void {
    try {
      super.dispose();
    } catch (error) {
      if (error instanceof Stage2Error && error.code === "EBUSY") {
        error.message = "dispose: a vCPU of the guest is loaded";
      }
      throw error;
    }
  }

  #described(index: number): number {
    this.context.core.el1_describe(this.#live);
    return this.context.resultNumber(index);
  }

  /** The core's pointer, if nobody who took the guest over has ended it. @throws Stage2Error `DISPOSED` */
  get #live(): number {
    if (this.table.isLive) return this.pointer;
    throw disposed("page table");
  }
}
