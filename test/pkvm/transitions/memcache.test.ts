/** The pages that the host tops vCPUs up with: what is admitted, and what is left where it is. */
import { describe, expect, it } from "vitest";
import { benches, listOf } from "../../ghost/bench.ts";
import { ENOMEM } from "../../ghost/model/words.ts";
import { GENERATIONS } from "../../ghost/world.ts";

const RWX = 7;
const BLOCK = 512;

describe.each(GENERATIONS)("the memcache of a vCPU (%s)", (generation) => {
  const lab = benches(generation);

  it("P-3.2: admits the host's pages one by one, and stops at a bad one: -ENOMEM, those before stay", () => {
    const { bench } = lab;
    const { handle } = bench.loadedVm();
    const [good, late, bad] = [bench.fresh(), bench.fresh(), bench.fresh()];
    expect(bench.call("SHARE_FFA", bad, 1)).toBe(0);
    // taken from the end of the list
    expect(bench.callWith(listOf(late, bad, good), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(
      -ENOMEM,
    );
    expect(bench.record(good)).toMatchObject({ host: "NOPAGE", hyp: "OWNED", references: 1 });
    expect(bench.record(late)).toMatchObject({ host: "OWNED" });
    expect(bench.pair.machine.vcpu(handle, 0).memcache).toBe(1);
  });

  it.each([
    ["no memory", 0n],
    ["beyond the address space", 2n ** 28n],
    ["far beyond it", 2n ** 64n - 1n],
  ])("P-3.2: does not admit what is %s", (_, pfn) => {
    const { bench } = lab;
    bench.loadedVm();
    const before = bench.snapshot();
    expect(bench.callWith(listOf(pfn), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(-ENOMEM);
    expect(bench.snapshot()).toEqual(before);
  });

  it("P-3.2: does not admit the same page twice", () => {
    const { bench } = lab;
    bench.loadedVm();
    const page = bench.fresh();
    expect(bench.callWith(listOf(page, page), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(-ENOMEM);
    expect(bench.record(page)).toMatchObject({ hyp: "OWNED", references: 1 });
  });

  it("P-3.2: takes no list that claims more than 64 pages, and nothing of it", () => {
    const { bench } = lab;
    bench.loadedVm();
    const { pages } = bench.pages(64);
    for (const count of [65n, 2n ** 32n, 2n ** 64n - 1n]) {
      const before = bench.snapshot();
      expect(bench.callWith({ count, pages }, "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(-ENOMEM);
      expect(bench.snapshot()).toEqual(before);
    }
    expect(bench.callWith({ count: 64n, pages }, "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(0);
  });

  it("admits no more than the list had: what is there counts", () => {
    const { bench } = lab;
    const { handle } = bench.loadedVm();
    expect(bench.callWith(bench.pages(6), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(0);
    expect(bench.pair.machine.vcpu(handle, 0).memcache).toBe(4);
    const [unused, used] = [bench.fresh(3), bench.fresh(2)];
    const list = listOf(unused, unused + 1, unused + 2, used, used + 1);
    expect(bench.callWith(list, "SHARE_GUEST", bench.base + 1, 1, 1, RWX)).toBe(0);
    expect(bench.pair.machine.vcpu(handle, 0).memcache).toBe(5);
    expect(bench.record(used).host).toBe("OWNED");
    expect(bench.record(used + 1).hyp).toBe("OWNED");
  });

  it("pages of tables that went empty are used first", () => {
    const { bench } = lab;
    const { handle } = bench.loadedVm();
    expect(bench.callWith(bench.pages(2), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(0);
    expect(bench.call("UNSHARE_GUEST", handle, 0, 1)).toBe(0);
    expect(bench.pair.machine.vm(handle)).toMatchObject({ spare: 2, inMemcaches: 0 });
    expect(bench.call("SHARE_GUEST", bench.base, BLOCK, 1, RWX)).toBe(0);
    expect(bench.pair.machine.vm(handle)).toMatchObject({ spare: 0 });
  });
});
