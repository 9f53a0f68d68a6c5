/** A guest that owns a page: where most tests of such guests begin. */
import { expect } from "vitest";
import type { Bench, VmParts } from "../../ghost/bench.ts";

export const GFN = 0x20;

/** A loaded guest that owns one page. */
export function withPage(bench: Bench, gfn = GFN, page = bench.base): VmParts {
  const vm = bench.loadedVm(true);
  expect(bench.callWith(bench.pages(8), "DONATE_GUEST", page, gfn)).toBe(0);
  return vm;
}
