/** What the tests of a host's EL2 mappings share. */
import { HypMappings, type HypMappingsOptions, type Mode } from "../../../src/index.ts";
import { type Lab, lab } from "../../support.ts";

export const PAGE = 4096;
/** First address of the linear map of a kernel with 48 bits, where physical address 0 is. */
export const LINEAR = 0xffff_0000_0000_0000n;
/** First address of the other half. */
export const VMALLOC = 0xffff_8000_0000_0000n;
export const TOP_BIT = 2 ** 47;
/** The idmap page: bit 47 is 0, so that bit 47 of the kernel's addresses is 1. */
export const IDMAP = 0x4020_0000;

/** Mappings with the defaults of a test, disposed at its end. */
export function hypLab(mode: Mode): Lab & {
  make(options?: Partial<HypMappingsOptions>): HypMappings;
} {
  const here = lab(mode);
  return {
    get engine() {
      return here.engine;
    },
    keep: (object) => here.keep(object),
    make: (options = {}) =>
      here.keep(HypMappings.create(here.engine, { idmap: { pa: IDMAP }, ...options })),
  };
}

/** The leaves but the idmap page, as what tests compare. */
export function mapped(hyp: HypMappings): { va: number; size: number; pa: number; prot: number }[] {
  return [...hyp.table.leaves()]
    .map(({ va, size, pa, prot }) => ({ va, size, pa, prot }))
    .filter(({ va }) => va !== hyp.idmap);
}
