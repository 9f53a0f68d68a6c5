/** What the operations of a stage-2 page table take. */
import type { TableCache } from "./cache.ts";
import type { Address, Range } from "./range.ts";

/** Where new tables may come from. */
export interface Allocation<Cache = TableCache> {
  /** The stock for new tables; `null` is no page at all (ENOMEM if one is needed). Default: the engine's pool. */
  cache?: Cache | null | undefined;
}

/** {@link Stage2.map} */
export interface MapRequest<Cache = TableCache> extends Range, Allocation<Cache> {
  /** First output address, rounded down to a page. */
  pa: Address;
  /** {@link Prot} bits. */
  prot: number;
  /** {@link WalkFlag} bits: SHARED, HANDLE_FAULT, SKIP_BBM_TLBI, SKIP_CMO. Default none. */
  flags?: number | undefined;
  /** Map pages even where a block would do. Default: what {@link Stage2.forcePages} answers. */
  forcePages?: boolean | undefined;
}

/** {@link Stage2.setOwner} */
export interface OwnerRequest extends Range, Allocation {
  /** 0 (nobody: the entries become zero) to 255; above 1 is refused with EINVAL, as in the reference. */
  owner: number;
}

/** {@link Stage2.relaxPerms} */
export interface RelaxRequest {
  /** The address that faulted. */
  ipa: Address;
  /** R, W and X to add; DEVICE and NORMAL_NC are ignored, software bits are refused with EINVAL. */
  prot: number;
}

/** {@link Stage2.split} */
export interface SplitRequest<Cache = TableCache> extends Range, Allocation<Cache> {}

/** {@link Stage2.createUnlinked} */
export interface UnlinkedRequest extends Allocation {
  /** First output address: a multiple of what an entry of `level` covers. */
  pa: Address;
  /** Level of the block that the table could replace; its entries are one level down. */
  level: number;
  /** {@link Prot} bits of every leaf. */
  prot: number;
  /** Pages all the way down, not the largest leaves. Default false. */
  forcePages?: boolean | undefined;
}

/** Asked once per {@link Stage2.map}: must this range be mapped by pages? */
export type ForcePages = (ipa: number, size: number) => boolean;
