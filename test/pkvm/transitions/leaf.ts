/** A guest that borrows a page: where most tests of guests begin. */
import { expect } from "vitest";
import type { Bench, VmParts } from "../../ghost/bench.ts";

const RWX = 7;

/** A loaded guest with pages for its tables, which maps one page at `gfn`. */
export function withLeaf(bench: Bench, gfn = 0, page = bench.base): VmParts {
  const vm = bench.loadedVm();
  expect(bench.callWith(bench.pages(8), "SHARE_GUEST", page, gfn, 1, RWX)).toBe(0);
  return vm;
}
