/**
 * Dumped pages as memory: each at the physical address that it had, so that a vCPU can walk them where they lie.
 *
 *   physical   ┆page page┆      page      ┆page┆   …        as the machine had them
 *   banks      [─────────]      [──┄┄┄────]                 cut where the gaps are widest; inside a bank, zeros
 *   memory     │ engine │ bank │ bank │ …                   one WebAssembly memory
 *
 * Banks of a machine with two gigabytes of RAM may be large, but only pages that are written take host memory.
 */
import { Engine, type Mode } from "../engine.ts";
import { Stage2Error } from "../errors.ts";
import { inputError } from "../_input.ts";
import type { Page, TableImage } from "./format.ts";

/** A stretch of physical memory. */
export interface Bank {
  readonly pa: number;
  readonly size: number;
}

/** Segments that an engine's memory map has room for, beside its own table pages. */
const MOST_BANKS = 7;
const WASM_PAGE = 65536;
/** The engine's region: little but vCPUs live there. */
const REGION = { offset: WASM_PAGE, size: 64 * WASM_PAGE } as const;
const MEBIBYTE = 2 ** 20;
/** A memory has less than 4 GiB. */
const MOST_BYTES = 3.5 * 2 ** 30;

/** The fewest bytes in at most seven banks that hold all pages. */
export function banksOf(pages: readonly Page[]): Bank[] {
  const sorted = [...pages].sort((a, b) => a.pa - b.pa);
  const gaps = sorted.slice(1).map((page, i) => {
    const before = sorted[i] as Page;
    return { at: page.pa, size: page.pa - before.pa - before.size };
  });
  const wide = gaps.filter(({ size }) => size > 0).sort((a, b) => b.size - a.size);
  const cuts = wide.slice(0, MOST_BANKS - 1);
  const starts = [sorted[0]?.pa ?? 0, ...cuts.map(({ at }) => at)].sort((a, b) => a - b);
  return starts.map((pa, i) => {
    const last = sorted.findLast((page) => page.pa < (starts[i + 1] ?? Infinity));
    return { pa, size: last === undefined ? 0 : last.pa + last.size - pa };
  });
}

/**
 * An engine with the dumped pages in its memory map. Its own table pages have addresses above all of them.
 *
 * @throws Stage2Error `BAD_INPUT` if the pages lie too far apart for one memory
 */
export async function engineWith(image: TableImage, mode: Mode): Promise<Engine> {
  const banks = banksOf(image.pages);
  const bytes = banks.reduce((sum, { size }) => sum + size, REGION.offset + REGION.size);
  if (bytes > MOST_BYTES) throw inputError(image.name, "its pages lie too far apart to be walked");
  const memory = memoryOf(Math.ceil(bytes / WASM_PAGE), mode);
  const end = Math.max(...banks.map(({ pa, size }) => pa + size));
  const tablePhysicalBase = Math.ceil(end / MEBIBYTE) * MEBIBYTE;
  const engine = await Engine.create({ memory, region: REGION, tablePhysicalBase });
  let pointer = REGION.offset + REGION.size;
  for (const { pa, size } of banks) {
    engine.memoryMap.add({ pa, size, pointer });
    pointer += size;
  }
  for (const { pa, size, offset } of image.pages)
    engine.memoryMap.bytes(pa, size).set(image.bytes.subarray(offset, offset + size));
  return engine;
}

function memoryOf(units: number, mode: Mode): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: units, maximum: units, shared: mode === "threads" });
  } catch (cause) {
    const bytes = units * WASM_PAGE;
    throw new Stage2Error("ENOMEM", `the host gives no memory: ${String(cause)}`, { bytes });
  }
}
