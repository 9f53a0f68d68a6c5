/** Physical memory of a pKVM machine, as it is asked for. */
import { Stage2Error } from "../errors.ts";
import { type Address, address, byteCount, fields, flagOption, knownOptions } from "../range.ts";
import { REGIONS } from "./_abi.ts";

/** A stretch of physical address space. */
export interface PhysicalSpan {
  /** First address. */
  pa: Address;
  /** Bytes, more than 0. */
  size: Address;
}

/** A region of memory (memblock). */
export interface MemoryRegion extends PhysicalSpan {
  /** Reserved memory that nobody may map: neither host nor guests, as memblock's NOMAP. Default off. */
  noMap?: boolean;
}

/** A region, checked. */
export interface CheckedRegion {
  readonly pa: number;
  readonly size: number;
  readonly noMap: boolean;
}

/** Regions in ascending order. @throws Stage2Error `BAD_OPTION`, `BAD_ADDRESS`, `BAD_SIZE` */
export function checkedRegions(
  memory: readonly MemoryRegion[],
  shift: number,
  paBits: number,
): CheckedRegion[] {
  if (!Array.isArray(memory) || memory.length === 0 || memory.length > REGIONS) {
    throw new Stage2Error("BAD_OPTION", `memory must be an array of 1 to ${REGIONS} regions`, {
      memory,
    });
  }
  const regions = memory.map((region: MemoryRegion) => checkedRegion(region, shift, paBits));
  regions.sort((a, b) => a.pa - b.pa);
  regions.reduce((before, region) => {
    if (before.pa + before.size <= region.pa) return region;
    throw new Stage2Error("BAD_OPTION", "regions of memory overlap", { pa: region.pa });
  });
  return regions;
}

/** A page-aligned stretch. @throws Stage2Error `BAD_OPTION`, `BAD_ADDRESS`, `BAD_SIZE` */
export function checkedSpan(
  name: string,
  span: PhysicalSpan,
  shift: number,
): { pa: number; size: number } {
  const pa = address(fields(span).pa, "pa");
  const size = byteCount(span.size, pa);
  const page = 2 ** shift;
  if (pa % page === 0 && size % page === 0) return { pa, size };
  throw new Stage2Error("BAD_OPTION", `${name} must be whole pages`, { pa, size });
}

function checkedRegion(region: MemoryRegion, shift: number, paBits: number): CheckedRegion {
  knownOptions("memory region", fields(region), ["pa", "size", "noMap"]);
  const { pa, size } = checkedSpan("a region of memory", region, shift);
  if (pa + size > 2 ** paBits) {
    throw new Stage2Error("BAD_OPTION", `memory beyond ${paBits} bits`, { pa, size });
  }
  return { pa, size, noMap: flagOption("noMap", region.noMap ?? false) };
}
