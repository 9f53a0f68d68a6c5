/**
 * The machines that every self-test runs on: page size, size of the guest's physical address space, whether hardware sets
 * access flags, size of the TLB.
 */
import type { TlbShape, VcpuOptions } from "../../../src/index.ts";
import { type Granule, PAGE_SHIFT } from "../../hw-model/paging.ts";

/** A machine. Guest, host and stage 2 have pages of the same size. */
export interface Configuration {
  readonly name: string;
  readonly granule: Granule;
  readonly page: number;
  /** Size of the guest's physical address space. */
  readonly ipaBits: number;
  /** Descriptors hold 52-bit addresses: LPA2 of 4K and 16K pages, LPA of 64K pages. */
  readonly wide: boolean;
  /** FEAT_HAFDBS. Without it hardware sets no access flag at either stage. */
  readonly ha: boolean;
  readonly tlb: TlbShape | false;
}

const GRANULES: readonly Granule[] = ["4K", "16K", "64K"];
const IPA_BITS = [36, 40, 44, 48, 52] as const;
/** None, eight entries, and as many as there can be: more than a self-test ever uses. */
const TLBS = {
  "no TLB": false,
  "TLB of 8": { sets: 2, ways: 4 },
  "large TLB": { sets: 2048, ways: 8 },
} as const;
type TlbName = keyof typeof TLBS;
const TLB_NAMES = Object.keys(TLBS) as TlbName[];

/** Which machines: where a list is missing, all. */
export interface Selection {
  readonly granules?: readonly Granule[];
  readonly ipaBits?: readonly number[];
  readonly ha?: readonly boolean[];
  readonly tlbs?: readonly TlbName[];
}

/** Machines of a selection; without one all 90. */
export function configurations(selection: Selection = {}): Configuration[] {
  const {
    granules = GRANULES,
    ipaBits = IPA_BITS,
    ha = [true, false],
    tlbs = TLB_NAMES,
  } = selection;
  const found: Configuration[] = [];
  for (const granule of granules) {
    for (const bits of ipaBits) {
      for (const flag of ha)
        for (const tlb of tlbs) found.push(configuration(granule, bits, flag, tlb));
    }
  }
  return found;
}

/** One machine. */
export function configuration(
  granule: Granule,
  ipaBits: number,
  ha = true,
  tlb: TlbName = "large TLB",
): Configuration {
  const name = `${granule}, ${ipaBits} bits, ${ha ? "HA" : "no HA"}, ${tlb}`;
  const page = 2 ** PAGE_SHIFT[granule];
  return { name, granule, page, ipaBits, wide: ipaBits > 48, ha, tlb: TLBS[tlb] };
}

/** The machine's CPU. */
export function cpuOptions({ ha, tlb }: Configuration): VcpuOptions {
  return { tlb, hafdbs: ha ? 2 : 0 };
}

/** The machine's stage 2. */
export function stage2Options({ granule, ipaBits, wide, ha }: Configuration) {
  const size = granule === "64K" ? { pa52: wide } : { lpa2: wide };
  return { granule, ipaBits, ha, ...size };
}
