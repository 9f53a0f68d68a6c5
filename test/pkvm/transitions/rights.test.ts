/** Rights and age of what guests borrow: what changes, and what is not asked. */
import { describe, expect, it } from "vitest";
import { benches } from "../../ghost/bench.ts";
import { EAGAIN, EINVAL, ERANGE } from "../../ghost/model/words.ts";
import { GENERATIONS } from "../../ghost/world.ts";
import { withLeaf } from "./leaf.ts";

const RWX = 7;
const GUEST_PAGES = 2 ** 28; // 40 bits of 4K pages
const HUGE = [2n ** 52n, 2n ** 52n + 5n, 2n ** 64n - 1n];

describe.each(GENERATIONS)("rights and age of a guest's pages (%s)", (generation) => {
  const lab = benches(generation);

  it("P-5.1: where nothing is mapped relax is -EAGAIN, the others 0", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    expect(bench.call("RELAX_PERMS_GUEST", 1, RWX)).toBe(-EAGAIN);
    expect(bench.call("WRPROTECT_GUEST", handle, 1, 1)).toBe(0);
    expect(bench.call("TEST_CLEAR_YOUNG_GUEST", handle, 1, 1, 1)).toBe(0);
    expect(bench.call("MKYOUNG_GUEST", 1)).toBe(0);
  });

  it("P-5.1: whether the host still lends the page is not asked", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    bench.forge(bench.base, { host: "NOPAGE" });
    lab.spoil();
    expect(bench.raw("RELAX_PERMS_GUEST", 0, RWX)).toBe(0);
    expect(bench.raw("WRPROTECT_GUEST", handle, 0, 1)).toBe(0);
    expect(bench.raw("TEST_CLEAR_YOUNG_GUEST", handle, 0, 1, 0)).toBe(1);
    expect(bench.raw("MKYOUNG_GUEST", 0)).toBe(0);
  });

  it("relax and mkyoung need a loaded vCPU of a guest that borrows: -EINVAL", () => {
    const { bench } = lab;
    bench.vm();
    bench.expectRefused(EINVAL, "RELAX_PERMS_GUEST", 0, RWX);
    bench.expectRefused(EINVAL, "MKYOUNG_GUEST", 0);
    if (generation !== "newest") return;
    bench.loadedVm(true);
    bench.expectRefused(EINVAL, "RELAX_PERMS_GUEST", 0, RWX);
    bench.expectRefused(EINVAL, "MKYOUNG_GUEST", 0);
  });

  it("relax refuses rights that are none (-EINVAL) and guest pages that are none (-ERANGE)", () => {
    const { bench } = lab;
    withLeaf(bench);
    for (const prot of [8, 32, 2n ** 32n + 1n, 2n ** 63n])
      bench.expectRefused(EINVAL, "RELAX_PERMS_GUEST", 0, prot);
    for (const gfn of [GUEST_PAGES, ...HUGE]) {
      bench.expectRefused(ERANGE, "RELAX_PERMS_GUEST", gfn, RWX);
      bench.expectRefused(ERANGE, "MKYOUNG_GUEST", gfn);
    }
  });

  it("write protection takes W alone, relax only adds", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    expect(bench.call("WRPROTECT_GUEST", handle, 0, 1)).toBe(0);
    expect(bench.leaf(handle, 0)).toMatchObject({ prot: 5 });
    expect(bench.call("RELAX_PERMS_GUEST", 0, 0)).toBe(0);
    expect(bench.call("RELAX_PERMS_GUEST", 0, 2)).toBe(0);
    expect(bench.leaf(handle, 0)).toMatchObject({ prot: RWX });
  });

  it("a flush by handle says nothing, whosever the handle is", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    for (const any of [handle, 0, 0xfff, BigInt(handle) + 2n ** 32n, ...HUGE])
      expect(bench.call("TLB_FLUSH_VMID", any)).toBe(0);
  });
});
