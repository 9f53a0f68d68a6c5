/** Blocks lent to guests: all of their pages or none. */
import { describe, expect, it } from "vitest";
import { type Bench, type VmParts, benches } from "../../ghost/bench.ts";
import { E2BIG, EBUSY, EINVAL, EPERM } from "../../ghost/model/words.ts";
import { withLeaf } from "./leaf.ts";

const RWX = 7;
const BLOCK = 512;

describe.each(["default", "newest"] as const)("blocks (%s)", (generation) => {
  const lab = benches(generation);
  const blockOf = (bench: Bench): number => Math.ceil(bench.base / BLOCK) * BLOCK;

  function withBlock(bench: Bench): VmParts {
    const vm = bench.loadedVm();
    const list = bench.pages(4);
    expect(bench.callWith(list, "SHARE_GUEST", blockOf(bench), BLOCK, BLOCK, RWX)).toBe(0);
    return vm;
  }

  it("P-5.3: a block counts on each of its pages, and on each goes again", () => {
    const { bench } = lab;
    const { handle } = withBlock(bench);
    const first = blockOf(bench);
    for (const page of [first, first + 255, first + 511])
      expect(bench.record(page)).toMatchObject({ host: "SHARED_OWNED", guests: 1 });
    expect(bench.call("SHARE_GUEST", first + 7, 0, 1, RWX)).toBe(0);
    expect(bench.record(first + 7).guests).toBe(2);
    expect(bench.call("UNSHARE_GUEST", handle, BLOCK, BLOCK)).toBe(0);
    expect(bench.record(first + 7)).toMatchObject({ host: "SHARED_OWNED", guests: 1 });
    expect(bench.record(first + 8).host).toBe("OWNED");
  });

  it.each([0, 255, 511])("P-5.3: page %i alone is not the host's: nothing changes", (index) => {
    const { bench } = lab;
    bench.loadedVm();
    expect(bench.callWith(bench.pages(4), "SHARE_GUEST", bench.fresh(), 0, 1, RWX)).toBe(0);
    expect(bench.call("SHARE_HYP", blockOf(bench) + index)).toBe(0);
    bench.expectRefused(EPERM, "SHARE_GUEST", blockOf(bench), BLOCK, BLOCK, RWX);
  });

  it("P-5.3: one page of the guest's is mapped, or one page is counted to the end: nothing changes", () => {
    const { bench } = lab;
    withLeaf(bench, BLOCK + 511, bench.fresh());
    bench.expectRefused(EPERM, "SHARE_GUEST", blockOf(bench), BLOCK, BLOCK, RWX);
    bench.forge(blockOf(bench) + 3, { host: "SHARED_OWNED", guests: 2 ** 32 - 1 });
    lab.spoil();
    bench.expectRefused(EBUSY, "SHARE_GUEST", blockOf(bench), 2 * BLOCK, BLOCK, RWX);
  });

  it("unshare: a page of a block, or a block of pages, is another size: -E2BIG", () => {
    const { bench } = lab;
    const { handle } = withBlock(bench);
    bench.expectRefused(E2BIG, "UNSHARE_GUEST", handle, BLOCK, 1);
    bench.expectRefused(E2BIG, "UNSHARE_GUEST", handle, BLOCK + 9, 1);
    expect(bench.call("SHARE_GUEST", bench.fresh(), 0, 1, RWX)).toBe(0);
    bench.expectRefused(E2BIG, "UNSHARE_GUEST", handle, 0, BLOCK);
  });

  it("unshare: one page of the block is not as it has to be: nothing changes", () => {
    const { bench } = lab;
    const { handle } = withBlock(bench);
    lab.spoil();
    bench.forge(blockOf(bench) + 511, { guests: 0 });
    bench.expectRefused(EINVAL, "UNSHARE_GUEST", handle, BLOCK, BLOCK);
    bench.forge(blockOf(bench) + 511, { host: "OWNED" });
    bench.expectRefused(EPERM, "UNSHARE_GUEST", handle, BLOCK, BLOCK);
  });

  it("protection and age of a block change as a whole, by its first page or any", () => {
    const { bench } = lab;
    const { handle } = withBlock(bench);
    expect(bench.call("TEST_CLEAR_YOUNG_GUEST", handle, BLOCK + 77, 1, 1)).toBe(1);
    expect(bench.call("TEST_CLEAR_YOUNG_GUEST", handle, BLOCK, BLOCK, 0)).toBe(0);
    expect(bench.call("MKYOUNG_GUEST", BLOCK + 400)).toBe(0);
    expect(bench.call("TEST_CLEAR_YOUNG_GUEST", handle, BLOCK, BLOCK, 0)).toBe(1);
    expect(bench.call("WRPROTECT_GUEST", handle, BLOCK + 3, 1)).toBe(0);
    expect(bench.call("RELAX_PERMS_GUEST", BLOCK + 511, 2)).toBe(0);
  });
});
