/** Capabilities of a VM (`KVM_ENABLE_CAP`): what is off until it is asked for. */
import { Stage2Error } from "../errors.ts";
import { type Address, address, flagOption, integerOption, knownOptions } from "../range.ts";
import { CAP, VM_OPTION } from "./_abi.ts";
import type { VmPlace } from "./_place.ts";

/** Numbers of capabilities, as `KVM_CAP_` names them; HDBSS has none there. */
export const Cap = {
  MANUAL_DIRTY_LOG_PROTECT2: CAP.MANUAL_DIRTY_LOG_PROTECT2,
  ARM_NISV_TO_USER: CAP.ARM_NISV_TO_USER,
  DIRTY_LOG_RING: CAP.DIRTY_LOG_RING,
  DIRTY_LOG_RING_ACQ_REL: CAP.DIRTY_LOG_RING_ACQ_REL,
  DIRTY_LOG_RING_WITH_BITMAP: CAP.DIRTY_LOG_RING_WITH_BITMAP,
  ARM_EAGER_SPLIT_CHUNK_SIZE: CAP.ARM_EAGER_SPLIT_CHUNK_SIZE,
  HDBSS: CAP.HDBSS,
} as const;

const MOST = 2 ** 32 - 1;
/** Result words of vm_describe. */
const OPTIONS = 6;
const CHUNK = 7;

/** The part of {@link Vm} that turns things on. */
export class VmCaps {
  /** @internal */
  readonly place: VmPlace;

  /** @internal */
  constructor(place: VmPlace) {
    this.place = place;
  }

  /**
   * Enables a capability: one of {@link Cap}, with its first argument.
   * @throws Stage2Error `EINVAL` for one that is unknown, an argument it does not take, or a time when it is too late;
   *   `E2BIG` for a dirty ring of more than 1 MiB; `EPERM`; `BAD_OPTION`, `BAD_ADDRESS`.
   */
  enableCap(cap: number, value: Address = 0, flags = 0): void {
    const { place } = this;
    const number = integerOption("cap", cap, 0, MOST);
    const bits = integerOption("flags", flags, 0, MOST);
    const argument = typeof value === "bigint" ? value : BigInt(address(value, "value"));
    if (argument < 0n || argument >= 2n ** 64n) {
      throw new Stage2Error("BAD_OPTION", "value must be of 64 bits", { value });
    }
    place.context.setArgument(0, argument);
    const status = place.core.vm_enable_cap(place.pointer, number, bits);
    place.done(status, "enableCap", { cap, value, flags });
  }

  /**
   * From now on {@link Vm.getDirtyLog} copies and {@link Vm.clearDirtyLog} protects. `initiallySet`: a log begins with all pages
   * dirty, and nothing protected. `false`: back to automatic protection.
   * @throws Stage2Error as {@link enableCap}
   */
  manualDirtyLogProtect(options: { initiallySet?: boolean } | false = {}): void {
    if (options === false) return this.enableCap(Cap.MANUAL_DIRTY_LOG_PROTECT2, 0);
    knownOptions("manualDirtyLogProtect", options, ["initiallySet"]);
    const all = flagOption("initiallySet", options.initiallySet ?? false);
    this.enableCap(Cap.MANUAL_DIRTY_LOG_PROTECT2, all ? 3 : 1);
  }

  /**
   * Gives each vCPU that is made from now on a dirty ring of so many bytes, 16 an entry: a power of two, at least 1,024 and a page,
   * at most 1 MiB. `backupBitmap`: what no vCPU writes is logged in the slots' bitmaps.
   * @throws Stage2Error as {@link enableCap}: before vCPUs, and with `backupBitmap` before memslots.
   */
  enableDirtyRing(options: { bytes: number; backupBitmap?: boolean }): void {
    knownOptions("enableDirtyRing", options, ["bytes", "backupBitmap"]);
    const bitmap = flagOption("backupBitmap", options.backupBitmap ?? false);
    this.enableCap(Cap.DIRTY_LOG_RING_ACQ_REL, options.bytes);
    if (bitmap) this.enableCap(Cap.DIRTY_LOG_RING_WITH_BITMAP);
  }

  /** Exits for accesses to devices that the syndrome does not describe, instead of `ENOSYS`. @throws Stage2Error as {@link enableCap} */
  enableNisvExits(): void {
    this.enableCap(Cap.ARM_NISV_TO_USER);
  }

  /**
   * Lets hardware record pages that it makes dirty: see {@link VmVcpu.setHdbssBuffer}. vCPUs with `hafdbs: 4` can.
   * @throws Stage2Error as {@link enableCap}: only while there is no memslot.
   */
  enableHdbss(on = true): void {
    this.enableCap(Cap.HDBSS, flagOption("on", on) ? 1 : 0);
  }

  /** Bytes of a piece of eager splitting; 0: off. */
  get eagerSplitChunk(): number {
    this.#describe();
    return this.place.context.resultNumber(CHUNK);
  }

  /** One of {@link eagerSplitSizes}, or 0. @throws Stage2Error as {@link enableCap}: only while there is no memslot. */
  set eagerSplitChunk(bytes: Address) {
    address(bytes, "eagerSplitChunk");
    this.enableCap(Cap.ARM_EAGER_SPLIT_CHUNK_SIZE, bytes);
  }

  /** Sizes that such a piece may have: those of leaves. */
  get eagerSplitSizes(): readonly number[] {
    const { pageShift } = this.place;
    const shifts = pageShift === 12 ? [12, 21, 30] : [pageShift, 2 * pageShift - 3];
    return shifts.map((shift) => 2 ** shift);
  }

  /** Which of them are on. */
  get caps(): {
    readonly manualProtect: boolean;
    readonly initiallySet: boolean;
    readonly dirtyRing: boolean;
    readonly backupBitmap: boolean;
    readonly nisvExits: boolean;
    readonly hdbss: boolean;
  } {
    this.#describe();
    const options = this.place.context.resultNumber(OPTIONS);
    const has = (bit: number): boolean => (options & bit) !== 0;
    return {
      manualProtect: has(VM_OPTION.MANUAL_PROTECT),
      initiallySet: has(VM_OPTION.INITIALLY_SET),
      dirtyRing: has(VM_OPTION.RING),
      backupBitmap: has(VM_OPTION.BACKUP_BITMAP),
      nisvExits: has(VM_OPTION.NISV_EXIT),
      hdbss: has(VM_OPTION.HDBSS),
    };
  }

  #describe(): void {
    const { place } = this;
    place.core.vm_describe(place.pointer);
  }
}
