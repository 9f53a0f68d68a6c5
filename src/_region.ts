/** Where an engine lives: a memory of its own, or a region of an embedder's. Sizes in bytes. */
import type { Core } from "./_abi.ts";
import { isShared } from "./_context.ts";
import { type Mode, loadCore } from "./_load.ts";
import { ENOMEM, Stage2Error } from "./errors.ts";
import { integerOption, knownOptions } from "./range.ts";

/** WebAssembly pages, and the alignment of regions. */
const WASM_PAGE = 65536;
/** A table page of the 4 KiB granule: the unit of the pool. */
export const UNIT = 4096;
const FIRST_GROWTH = 1024; // units that a memory of our own starts with
const LARGEST_MEMORY = 2 ** 32;

/** How much of everything an engine has room for. */
export interface Shape {
  readonly units: number;
  readonly threads: number;
  readonly objects: number;
  readonly events: number;
}

/** A place that {@link Core.engine_init} can lay out. */
export interface Place {
  readonly memory: WebAssembly.Memory;
  readonly base: number;
  readonly bytes: number;
  readonly units: number;
  readonly growable: boolean;
}

/** Part of an embedder's memory. */
export interface Region {
  /** First byte: a multiple of 64 KiB, at least 64 KiB. */
  offset: number;
  /** Bytes: a multiple of 64 KiB. The engine never leaves them. */
  size: number;
}

/** Bytes from a region's start to its first table page. */
function overhead(core: Core, shape: Shape): number {
  return core.engine_overhead(shape.units, shape.threads, shape.objects, shape.events);
}

/** An instance over a scratch memory, to ask for sizes before the real memory exists. */
export function measuringCore(mode: Mode, module: WebAssembly.Module): Core {
  return loadCore(mode, newMemory(mode, 1, 1), module);
}

/** A memory of the engine's own that starts small and grows up to the shape. `base`: where guest memory ends. */
export function ownPlace(mode: Mode, core: Core, shape: Shape, base: number): Place {
  const start = base + overhead(core, shape);
  const end = start + shape.units * UNIT;
  if (end >= LARGEST_MEMORY) {
    throw new Stage2Error("MEMORY_TOO_SMALL", "a WebAssembly memory has less than 4 GiB", {
      maxTablePages: shape.units,
      guestRam: base - WASM_PAGE,
      needed: end,
    });
  }
  const initial = Math.ceil((start + Math.min(shape.units, FIRST_GROWTH) * UNIT) / WASM_PAGE);
  const memory = newMemory(mode, initial, Math.ceil(end / WASM_PAGE));
  return { memory, base, bytes: initial * WASM_PAGE - base, units: shape.units, growable: true };
}

/** An embedder's memory, or the given region of it. It is never grown. */
export function adoptedPlace(
  memory: WebAssembly.Memory,
  region: Region | undefined,
  core: Core,
  shape: Shape,
  unitsAsked: boolean,
): Place {
  const { offset, size } = checkedRegion(memory, region);
  const fixed = { ...shape, units: 0 };
  let units = unitsAsked ? shape.units : Math.floor((size - overhead(core, fixed)) / (UNIT + 8));
  // The overhead grows in steps of 64 KiB with the units, so the quotient can be a few units too high.
  while (!unitsAsked && units > 0 && overhead(core, { ...shape, units }) + units * UNIT > size)
    units--;
  const needed =
    overhead(core, { ...shape, units: Math.max(units, 1) }) + Math.max(units, 1) * UNIT;
  if (needed > size) {
    throw new Stage2Error("MEMORY_TOO_SMALL", "the region cannot hold the engine", {
      size,
      needed,
      maxTablePages: Math.max(units, 0),
    });
  }
  return { memory, base: offset, bytes: size, units, growable: false };
}

function checkedRegion(memory: WebAssembly.Memory, region: Region | undefined): Region {
  const end = memory.buffer.byteLength;
  if (region === undefined) {
    if (end > WASM_PAGE) return { offset: WASM_PAGE, size: end - WASM_PAGE };
    throw new Stage2Error("MEMORY_TOO_SMALL", "the memory has no room above 64 KiB", { size: end });
  }
  knownOptions("region", region, ["offset", "size"]);
  const offset = integerOption("region.offset", region.offset, WASM_PAGE, LARGEST_MEMORY);
  const size = integerOption("region.size", region.size, WASM_PAGE, LARGEST_MEMORY);
  if (offset % WASM_PAGE !== 0 || size % WASM_PAGE !== 0) {
    throw new Stage2Error("BAD_OPTION", "a region starts and ends at multiples of 64 KiB", region);
  }
  if (offset + size <= end) return region;
  throw new Stage2Error("MEMORY_TOO_SMALL", "the region does not lie inside the memory", {
    offset,
    size,
    memory: end,
  });
}

function newMemory(mode: Mode, initial: number, maximum: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial, maximum, shared: mode === "threads" });
  } catch (cause) {
    throw new Stage2Error(
      "ENOMEM",
      `the host gives no memory: ${String(cause)}`,
      { maximum },
      ENOMEM,
    );
  }
}

/**
 * The build to run: threads where a shared memory can be made and handed to workers, else single.
 * A browser page that is not cross-origin isolated can make one in some versions, but cannot post it.
 */
export function chooseMode(wanted: Mode | undefined, memory: WebAssembly.Memory | undefined): Mode {
  const possible = memory === undefined ? sharedMemoryWorks() : isShared(memory);
  if (wanted === "threads" && !possible) {
    throw new Stage2Error(
      "NO_SHARED_MEMORY",
      "no shared memory: cross-origin isolate the page",
      {},
    );
  }
  if (memory === undefined) return wanted ?? (possible ? "threads" : "single");
  if (wanted === "single" && possible) {
    throw new Stage2Error("BAD_OPTION", "a shared memory runs the threads build", { mode: wanted });
  }
  return possible ? "threads" : "single";
}

function sharedMemoryWorks(): boolean {
  const isolated = (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated;
  if (typeof SharedArrayBuffer === "undefined" || isolated === false) return false;
  return isShared(newMemory("threads", 1, 1)); // hosts without wasm threads ignore `shared`
}
