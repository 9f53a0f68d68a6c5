/** A hypervisor's own stage-1 page table: the `kvm_pgtable_hyp_*` operations. Addresses are virtual (VA). */
import { KIND_HYP, OPTION } from "./_abi.ts";
import type { Context } from "./_context.ts";
import { HypView, type VirtualRange, virtualSpan } from "./_hyp_view.ts";
import {
  TABLE_OPTIONS,
  type TableOptions,
  eventMask,
  optionBit,
  pageShift,
  tableBits,
} from "./_options.ts";
import { outcome } from "./_outcome.ts";
import { TableCore, checkPointer, reportedShape } from "./_table.ts";
import { type TableCache, cachePointer } from "./cache.ts";
import { type Address, address, integerOption, knownOptions, protection } from "./range.ts";

export type { HypEntry, HypEntryRange, VirtualRange } from "./_hyp_view.ts";

/** What a hypervisor page table is made with. */
export interface HypOptions extends TableOptions {
  /** Input size, 32 to 52 bits. Default 48. */
  vaBits?: number;
  /** EL2 with the EL2&0 layout of permissions (VHE machines). Default off. */
  hvhe?: boolean;
  /** Guarded pages for what is executable (FEAT_BTI). Default off. */
  bti?: boolean;
  /** Tables are counted, so that `unmap` works. Default on. */
  pageCount?: boolean;
  /** Keep the reference library's leak of one table page when a block gives way to a table. Default off. */
  parity?: boolean;
}

/** {@link HypStage1.map} */
export interface HypMapRequest extends VirtualRange {
  /** First output address. */
  pa: Address;
  /** {@link Prot} bits: R is needed; W and X exclude each other, and X excludes DEVICE. */
  prot: number;
  /** The stock for new tables; `null` is no page at all. Default: the engine's pool. */
  cache?: TableCache | null | undefined;
}

const NAMES = [...TABLE_OPTIONS, "vaBits", "hvhe", "bti", "pageCount", "parity"];

/** A hypervisor's stage-1 page table. Errors as for {@link Stage2}. */
export class HypStage1 extends HypView {
  private constructor(table: TableCore) {
    super(table);
  }

  /** `kvm_pgtable_hyp_init`. @internal */
  static create(context: Context, options: HypOptions): HypStage1 {
    const bits = hypBits(options);
    const vaBits = integerOption("vaBits", options.vaBits ?? 48, 32, 52);
    const shift = pageShift(options.granule);
    const mask = eventMask(options.events ?? []);
    const status = context.core.hyp_init(shift, vaBits, bits, mask);
    const pointer = checkPointer(status, "hyp", options);
    const shape = reportedShape(context, { kind: KIND_HYP, pageShift: shift, bits });
    return new HypStage1(new TableCore(context, pointer, { ...shape, vtcr: 0n }, true));
  }

  /**
   * Maps a range (`kvm_pgtable_hyp_map`). Mapping the same again changes nothing.
   * @throws Stage2Error `EINVAL` for a protection that stage 1 cannot express, or a page that is mapped differently;
   *   `ENOMEM`: what lies before is mapped.
   */
  map(request: HypMapRequest): void {
    const [va, size] = virtualSpan(request);
    const pa = address(request.pa, "pa");
    const prot = protection(request.prot);
    const { context, pointer } = this.table;
    const cache = cachePointer(context, this.table.shape.pageShift, request.cache);
    outcome(context, context.core.hyp_map(pointer, va, size, pa, prot, cache), "map", request);
  }

  /**
   * Removes mappings (`kvm_pgtable_hyp_unmap`) up to the first hole or partly covered block. Bytes unmapped.
   */
  unmap(range: VirtualRange): number {
    const [va, size] = virtualSpan(range);
    const { context, pointer } = this.table;
    return outcome(context, context.core.hyp_unmap(pointer, va, size), "unmap", range);
  }
}

function hypBits(options: HypOptions): number {
  knownOptions("hyp", options, NAMES);
  return (
    tableBits(options) |
    optionBit(options, "hvhe", OPTION.HVHE) |
    optionBit(options, "bti", OPTION.BTI) |
    optionBit(options, "parity", OPTION.PARITY) |
    (OPTION.NO_PAGE_COUNT & ~optionBit(options, "pageCount", OPTION.NO_PAGE_COUNT, true))
  );
}
