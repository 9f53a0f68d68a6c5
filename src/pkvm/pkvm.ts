/**
 * A pKVM machine: physical memory, a host that is not trusted, and the hypervisor that decides page by page who may use it.
 *
 *     const pkvm = engine.pkvm({ memory: [{ pa: 0x8000_0000, size: 2 ** 30 }] });
 *     pkvm.hypercall("shareHyp", 0x80000); // 0, or -errno
 *     pkvm.pageState(0x8000_0000); // { host: "SHARED_OWNED", hyp: "SHARED_BORROWED", … }
 */
import type { Context } from "../_context.ts";
import { refusal } from "../_outcome.ts";
import { checkPointer } from "../_table.ts";
import { isPointer } from "../_view.ts";
import { EEXIST, ENOMEM, EPERM, Stage2Error, errnoError } from "../errors.ts";
import { type Address, address, flagOption, integerOption, knownOptions } from "../range.ts";
import type { AttachedOptions } from "../stage2.ts";
import { PKVM_REGION } from "./_abi.ts";
import {
  type CallOptions,
  type Word,
  listOf,
  takeTaken,
  writeArguments,
  writeList,
} from "./_call.ts";
import { MachinePlace } from "./_place.ts";
import { PkvmShown } from "./_shown.ts";
import {
  HYPERCALLS,
  type HypercallInfo,
  type HypercallName,
  hypercallNumber,
  refills,
} from "./hypercalls.ts";
import { HypMemcache } from "./memcache.ts";
import type { CheckedRegion } from "./memory.ts";
import { type PkvmOptions, type PkvmSettings, checkedPkvmOptions } from "./options.ts";
import { PkvmStage2, type PkvmStage2Options } from "./stage2.ts";

export type { PkvmVcpuState, PkvmVmState } from "./_vms.ts";
export type { CallOptions, Word } from "./_call.ts";

/** What another thread needs to use the machine: {@link Engine.attachPkvm}. It can be posted. */
export interface PkvmHandle {
  readonly kind: "stage2-pkvm";
  readonly engine: string;
  readonly pointer: number;
  /** Tells the machine from others that had its place before. */
  readonly generation: number;
}

/** What became of an access of the host to what is not mapped for it, or not its own; see {@link Pkvm.hostAbort}. */
export type HostAbortOutcome = "mapped" | "again" | "inject" | "crash";

/** Bytes in which the engine counts its pool. */
const POOL_UNIT = 4096;

/**
 * The machine. Threads that attach to it are its CPUs: each has at most one vCPU loaded. All operations throw `DISPOSED` after
 * {@link dispose}, here or by the owner.
 */
export class Pkvm extends PkvmShown implements Disposable {
  /** All hypercalls, by number. */
  readonly hypercalls: readonly HypercallInfo[] = HYPERCALLS;

  private constructor(place: MachinePlace) {
    super(place);
  }

  /** @internal */
  static create(context: Context, options: PkvmOptions): Pkvm {
    const settings = checkedPkvmOptions(options);
    const { pageShift, paBits, options: bits } = settings;
    refuseTables(context, settings.regions);
    const status = context.core.pkvm_create(pageShift, paBits, bits);
    const pointer = checkPointer(status, "pkvm", options);
    const result = build(context, pointer, settings);
    if (result < 0) {
      const error = refusal(context, result, "pkvm", options);
      context.core.pkvm_destroy(pointer);
      throw error;
    }
    return new Pkvm(new MachinePlace(context, { pointer, owned: true }));
  }

  /** @internal */
  static attach(context: Context, handle: PkvmHandle, options: AttachedOptions): Pkvm {
    knownOptions("attachPkvm", options, ["own"]);
    const owned = flagOption("own", options.own ?? false);
    const { pointer } = checkedMachine(context, handle);
    return new Pkvm(new MachinePlace(context, { pointer, owned }));
  }

  // ---- hypercalls -----------------------------------------------------------------------------------------------------

  /**
   * A hypercall, as anybody may make it: by name, or by a number that may mean nothing. The arguments are any 64-bit words; those that
   * are left out are 0. The last argument may be {@link CallOptions}. 0, a value, a negative errno, or {@link NOT_SUPPORTED}.
   * -110 (ETIMEDOUT): another thread did not let go of a lock of the hypervisor's; one that ended is {@link Engine.reclaimThread}'s.
   * @throws Stage2Error `BAD_OPTION`: no call has this name, what is handed in is no word, or a list is none that pages could leave, or goes
   *   with a call that takes none. What a call does not like is its result.
   */
  hypercall(
    call: HypercallName | "relaxGuestPerms" | number,
    ...given: (Word | CallOptions)[]
  ): number {
    const number =
      typeof call === "number"
        ? integerOption("hypercall", call, -(2 ** 31), 2 ** 31 - 1)
        : hypercallNumber(call);
    const { context, pointer } = this.place;
    const last = given[given.length - 1];
    const options = typeof last === "object" ? last : undefined;
    const takesList = refills(number);
    const list = listOf(options, takesList);
    writeArguments(context, (options === undefined ? given : given.slice(0, -1)) as Word[]);
    if (!takesList) return context.core.pkvm_call(pointer, number);
    writeList(context, list);
    const result = context.core.pkvm_call(pointer, number);
    takeTaken(context, list);
    return result;
  }

  /**
   * The host touched a physical address that its stage 2 does not map (`handle_host_mem_abort`): "mapped", it may go on; "again", another
   * CPU had mapped it; "inject", it is not the host's and the host gets the abort; "crash", the same without `injectHostAborts`.
   * @throws Stage2Error `EINVAL` beyond {@link paBits}; `ENOMEM`; `BAD_ADDRESS`.
   */
  hostAbort(pa: Address): HostAbortOutcome {
    const status = this.hypercall("hostAbort", address(pa, "pa"));
    const flag = this.place.context.resultNumber(0) === 1;
    if (status === -EPERM) return flag ? "inject" : "crash";
    this.place.done(status, "hostAbort", { pa });
    return flag ? "again" : "mapped";
  }

  /**
   * Makes a guest, in the hypervisor and here.
   * @throws Stage2Error `ENOMEM`: the host's kernel has no pages for it, or 255 VMs exist; `EINVAL`: protected without the feature; `EMFILE`; `BAD_OPTION`.
   */
  stage2(options: PkvmStage2Options = {}): PkvmStage2 {
    return PkvmStage2.create(this.place, options);
  }

  // ---- the host's kernel ------------------------------------------------------------------------------------------------

  /** Makes an empty stock of pages for the hypervisor. @throws Stage2Error `ENOMEM` */
  memcache(): HypMemcache {
    return HypMemcache.create(this.place);
  }

  /** The number of a page that the host's kernel has to give: it is the caller's until {@link freeHostPage}. @throws Stage2Error `ENOMEM` */
  hostPage(): number {
    const { context, pointer } = this.place;
    const pfn = context.core.pkvm_host_page(pointer);
    if (pfn >= 0) return pfn;
    throw errnoError(-ENOMEM, "hostPage");
  }

  /** Gives it back. One that is not of that memory is ignored. @throws Stage2Error `BAD_OPTION` */
  freeHostPage(pfn: number): void {
    const { context, pointer } = this.place;
    const page = integerOption("pfn", pfn, 0, 2 ** 53);
    context.core.pkvm_host_page_free(pointer, page);
  }

  /** For {@link Engine.attachPkvm} in another thread. It can be posted. */
  get handle(): PkvmHandle {
    const { context, pointer, generation } = this.place;
    return { kind: "stage2-pkvm", engine: context.id, pointer, generation };
  }

  /**
   * Ends the machine with both of its tables and every memcache, if this object made it; one that is attached only lets go. A second call does nothing.
   * @throws Stage2Error `EBUSY` while there are VMs: `details.vm` is the handle of one; `EDEADLK` if this thread holds a lock. Nothing was done then.
   */
  dispose(): void {
    this.place.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Memory is no place where the engine keeps its table pages: a guest's access there would be one to a table. @throws Stage2Error `EEXIST` */
function refuseTables(context: Context, regions: readonly CheckedRegion[]): void {
  const [first, end] = [
    context.poolPhysical,
    context.poolPhysical + context.core.pool_capacity() * POOL_UNIT,
  ];
  const region = regions.find(({ pa, size }) => pa < end && first < pa + size);
  if (region === undefined) return;
  const { pa, size } = region;
  const message =
    "pkvm: the engine keeps its page tables in this region of memory: see tablePhysicalBase";
  throw new Stage2Error("EEXIST", message, { pa, size, tablePhysicalBase: first, end }, EEXIST);
}

/** Memory, then tables: a result of the core. */
function build(context: Context, pointer: number, settings: PkvmSettings): number {
  const { core } = context;
  const say = (...words: number[]): void => writeArguments(context, words);
  for (const { pa, size, noMap } of settings.regions) {
    say(pa, size);
    const status = core.pkvm_add_region(pointer, noMap ? PKVM_REGION.NOMAP : 0);
    if (status < 0) return status;
  }
  const { hostPages, hypVaOffset, table, events, registers } = settings;
  say(hostPages.pa, hostPages.size, hypVaOffset, ...registers.map(Number));
  return core.pkvm_init(pointer, table, events);
}

/** @throws Stage2Error `BAD_OPTION`, `FOREIGN`, `DISPOSED` */
function checkedMachine(context: Context, handle: PkvmHandle): PkvmHandle {
  const candidate: Partial<PkvmHandle> | null | undefined = handle;
  const { kind, engine, pointer, generation } = candidate ?? {};
  if (kind !== "stage2-pkvm") {
    throw new Stage2Error("BAD_OPTION", "this is no handle of a pKVM machine");
  }
  if (engine !== context.id) {
    throw new Stage2Error("FOREIGN", "the machine belongs to another engine");
  }
  const found = isPointer(pointer) ? context.core.pkvm_generation(pointer) : 0;
  if (found !== 0 && found === generation) return handle;
  throw new Stage2Error("DISPOSED", "this pKVM machine was disposed");
}
