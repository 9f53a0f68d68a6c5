/** What guest memories and their areas are made with, checked. */
import type { Engine } from "../../engine.ts";
import { EINVAL, Stage2Error } from "../../errors.ts";
import { type Granule, pageShift } from "../../_options.ts";
import {
  type Address,
  address,
  byteCount,
  choiceOption,
  fields,
  flagOption,
  integerOption,
  knownOptions,
} from "../../range.ts";
import { AREA_KINDS, type AreaKind } from "./_areas.ts";
import { type NewArea, invalid } from "./_change.ts";
import type { Shape, State } from "./_layout.ts";
import type { HostRange } from "./_notify.ts";
import { MOST_FRAMES } from "./_page.ts";

/** How a guest memory is made: over `size` bytes at `pa`, or of `frames` without bytes. */
export interface GuestMemoryOptions {
  /**
   * Physical address of the first frame. With `size`: inside a bank of {@link EngineOptions.guestRam} or a segment of
   * {@link Engine.memoryMap}. Without: where nothing is; default 2 GiB.
   */
  pa?: Address;
  /** Bytes of all frames: a multiple of the page size. */
  size?: Address;
  /** Instead of `size`: frames that have no bytes, for work with page states alone. 1 to 2^25. */
  frames?: number;
  /** Page size of the host. Default 4K. It must be that of the VMs. */
  granule?: Granule;
  /** Pages that can be mapped at a time, of all areas (a huge page of a hugetlb area is one). Default: 2^20, or four times the frames. */
  mappablePages?: number;
  /**
   * Areas that can exist at a time, 1 to 65,536: each that was mapped, neighbours too, and the parts that
   * {@link GuestMemory.unmap}, {@link GuestMemory.protect} and hooks cut it into. Default 1,024.
   */
  maxAreas?: number;
}

/** A stretch of host virtual addresses: multiples of the page size, the end by 2^52. */
export interface HostRangeRequest {
  hva: Address;
  size: Address;
}

/** An area to map. */
export interface AreaRequest extends HostRangeRequest {
  /**
   * `anonymous`: pages of zeros, read-only first if they are read first. `thp`: the same with transparent huge pages (2 MiB,
   * 32 MiB, 512 MiB). `hugetlb`: huge pages. `file`: pages of a shared file of zeros, read-only until written. `device`: a
   * stretch of physical addresses that is no memory. Default anonymous.
   */
  kind?: AreaKind;
  /** Of hugetlb: its page size (4K: 64 KiB, 2 MiB, 32 MiB, 1 GiB; 16K: 2 MiB, 32 MiB, 1 GiB; 64K: 2 MiB, 512 MiB, 16 GiB). Of a
   *  device: what the host maps it with. */
  pageSize?: Address;
  /** Default true. */
  writable?: boolean;
  /** Of a device, and needed there: physical address of its first page. */
  pa?: Address;
  /** Of a device: it may be mapped Normal non-cacheable. Default false. */
  normalNc?: boolean;
  /** Memory tagging is not allowed. Default false. */
  noMte?: boolean;
}

const OPTIONS = ["pa", "size", "frames", "granule", "mappablePages", "maxAreas"];
const AREA_OPTIONS = ["hva", "size", "kind", "pageSize", "writable", "pa", "normalNc", "noMte"];
/** End of the host's address space, and of physical addresses. */
export const HVA_LIMIT = 2 ** 52;
const MOST_PAGES = 2 ** 30;

/** Checks the options, and looks up where the bytes are. @throws Stage2Error */
export function checkedShape(engine: Engine, options: GuestMemoryOptions): Shape {
  knownOptions("guest memory", options, OPTIONS);
  const shift = pageShift(options.granule);
  const page = 2 ** shift;
  const pa = address(options.pa ?? 2 ** 31, "pa");
  if ((options.size === undefined) === (options.frames === undefined)) {
    throw new Stage2Error("BAD_OPTION", "guest memory has either a size or frames", { ...options });
  }
  const frames =
    options.size === undefined
      ? integerOption("frames", options.frames, 1, MOST_FRAMES)
      : byteCount(options.size, pa) / page;
  if (!Number.isInteger(frames) || pa % page !== 0 || pa + frames * page > HVA_LIMIT) {
    throw invalid("pa and size are multiples of the page size, below 2^52", { pa, page });
  }
  integerOption("frames", frames, 1, MOST_FRAMES);
  const pointer = options.size === undefined ? undefined : pointerOf(engine, pa, frames * page);
  if (options.size === undefined) refuseSegments(engine, pa, frames * page);
  const group = 2 ** (shift - 3);
  const pages = options.mappablePages ?? Math.max(2 ** 20, 4 * frames);
  return {
    pageShift: shift,
    frames,
    pages: Math.ceil(integerOption("mappablePages", pages, 1, MOST_PAGES) / group) * group,
    areas: integerOption("maxAreas", options.maxAreas ?? 1024, 1, 65_536),
    pa,
    pointer,
  };
}

function pointerOf(engine: Engine, pa: number, size: number): number {
  const inside = engine.memoryMap.segments
    .slice(1) // the first is the table-page pool
    .find((one) => pa >= one.pa && pa + size <= one.pa + one.size);
  if (inside !== undefined) return inside.pointer + (pa - inside.pa);
  const message = "guest memory lies in a bank of guestRam, or another segment of the memory map";
  throw new Stage2Error("EFAULT", message, { pa, size }, 14);
}

function refuseSegments(engine: Engine, pa: number, size: number): void {
  const over = engine.memoryMap.segments.find((o) => pa < o.pa + o.size && o.pa < pa + size);
  if (over === undefined) return;
  const message = "frames without bytes lie where the memory map has nothing";
  throw new Stage2Error("EEXIST", message, { pa, size, segment: over.pa }, 17);
}

/** A checked range. @throws Stage2Error `BAD_ADDRESS`, `BAD_SIZE`, `EINVAL` */
export function checkedRange(state: State, request: HostRangeRequest): HostRange {
  const hva = address(fields(request).hva, "hva");
  const size = byteCount(request.size, hva);
  if (hva % state.page === 0 && size % state.page === 0 && hva + size <= HVA_LIMIT) {
    return { hva, size };
  }
  const details = { hva, size, page: state.page };
  throw invalid("hva and size are multiples of the page size, the end by 2^52", details);
}

/** A checked area. @throws Stage2Error */
export function checkedArea(state: State, request: AreaRequest): NewArea {
  knownOptions("map", request, AREA_OPTIONS);
  const { hva, size } = checkedRange(state, request);
  const kind = choiceOption<AreaKind>("kind", request.kind ?? "anonymous", AREA_KINDS);
  const leaf = leafSize(state, kind, request.pageSize);
  const pa = devicePhysical(state, kind, request, size);
  const unit = kind === "hugetlb" ? leaf : state.page;
  if (hva % unit !== 0 || size % unit !== 0) {
    throw invalid("a hugetlb area lies at multiples of its page size", {
      hva,
      size,
      pageSize: unit,
    });
  }
  if (size / unit >= 2 ** 31) throw invalid("an area has less than 2^31 pages", { size });
  const normalNc = flagOption("normalNc", request.normalNc ?? false);
  if (normalNc && kind !== "device") {
    throw new Stage2Error("BAD_OPTION", "normalNc is for devices", { kind });
  }
  return {
    start: hva,
    end: hva + size,
    kind,
    writable: flagOption("writable", request.writable ?? true),
    normalNc,
    noMte: flagOption("noMte", request.noMte ?? false),
    unit,
    leaf,
    pa,
  };
}

/** Sizes of leaves: level 3, contiguous level 3, level 2, contiguous level 2, level 1. */
const LEAF_SHIFTS: Readonly<Record<number, readonly number[]>> = {
  12: [16, 21, 25, 30],
  14: [21, 25, 30],
  16: [21, 29, 34],
};

function leafSize(state: State, kind: AreaKind, pageSize: Address | undefined): number {
  const { page, shape } = state;
  const huge = (LEAF_SHIFTS[shape.pageShift] ?? []).map((shift) => 2 ** shift);
  const size = typeof pageSize === "bigint" ? Number(pageSize) : pageSize;
  if (kind === "hugetlb") return choiceOption("pageSize", size, huge);
  if (pageSize === undefined) return page;
  if (kind === "device") return choiceOption("pageSize", size, [page, ...huge]);
  throw new Stage2Error("BAD_OPTION", "pageSize is for hugetlb and devices", { kind, pageSize });
}

function devicePhysical(state: State, kind: AreaKind, request: AreaRequest, size: number): number {
  if (kind !== "device") {
    if (request.pa === undefined) return 0;
    throw new Stage2Error("BAD_OPTION", "pa is for devices", { kind, pa: request.pa });
  }
  if (request.pa === undefined) {
    throw new Stage2Error("BAD_OPTION", "a device needs a pa", { kind });
  }
  const pa = address(request.pa, "pa");
  if (pa % state.page === 0 && pa + size <= HVA_LIMIT) return pa;
  throw new Stage2Error("EINVAL", "guest memory: pa of a device: pages below 2^52", { pa }, EINVAL);
}
