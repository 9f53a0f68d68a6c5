/** VMs: promised, made, torn down; each refusal alone, and nothing left of what is refused half way. */
import { describe, expect, it } from "vitest";
import { MAX_VMS } from "../../../src/pkvm/_abi.ts";
import { type Bench, benches } from "../../ghost/bench.ts";
import { EBUSY, EINVAL, ENOENT, ENOMEM, EPERM } from "../../ghost/model/words.ts";
import { GENERATIONS } from "../../ghost/world.ts";

const FIRST = 0x1000;
const RWX = 7;
const HUGE = [2n ** 32n + 0x1000n, 2n ** 63n, 2n ** 64n - 1n];

/** Pages for a VM; the struct that stays the host's is shared already. */
function parts(bench: Bench) {
  const [shared, struct, root] = [bench.fresh(), bench.fresh(), bench.fresh(2)];
  expect(bench.call("SHARE_HYP", shared)).toBe(0);
  return { shared, struct, root };
}

describe.each(GENERATIONS)("making a VM (%s)", (generation) => {
  const lab = benches(generation);

  it("takes its struct and its entry table, and pins the host's struct", () => {
    const { bench } = lab;
    const { handle, shared, donated } = bench.vm();
    expect(handle).toBe(FIRST);
    expect(bench.record(shared)).toMatchObject({ host: "SHARED_OWNED", references: 1 });
    for (const pfn of donated)
      expect(bench.record(pfn)).toMatchObject({ host: "NOPAGE", hyp: "OWNED", references: 1 });
    expect(bench.call("UNSHARE_HYP", shared)).toBe(-EBUSY);
    expect(bench.call("HYP_DONATE_HOST", donated[0] as number, 1)).toBe(-EBUSY);
  });

  it("refuses counts of vCPUs, flags and handles that are none: -EINVAL", () => {
    const { bench } = lab;
    const { shared, struct, root } = parts(bench);
    for (const vcpus of [0, 513, ...HUGE])
      bench.expectRefused(EINVAL, "INIT_VM", 0, shared, struct, root, vcpus, 0);
    for (const flags of [2, 3, ...HUGE])
      bench.expectRefused(EINVAL, "INIT_VM", 0, shared, struct, root, 1, flags);
    if (generation !== "newest")
      bench.expectRefused(EINVAL, "INIT_VM", 0, shared, struct, root, 1, 1);
    const live = bench.vm();
    for (const handle of [1, FIRST - 1, FIRST + 7, live.handle, FIRST + MAX_VMS, ...HUGE])
      bench.expectRefused(EINVAL, "INIT_VM", handle, shared, struct, root, 1, 0);
    expect(bench.call("INIT_VM", 0, shared, struct, root, 512, 0)).toBe(FIRST + 1);
  });

  it("refuses a host's struct that is not shared with it: -EPERM; pinned too often: -EBUSY", () => {
    const { bench } = lab;
    const { shared, struct, root } = parts(bench);
    bench.expectRefused(EPERM, "INIT_VM", 0, bench.base, struct, root, 1, 0);
    expect(bench.call("SHARE_FFA", bench.base, 1)).toBe(0);
    bench.expectRefused(EPERM, "INIT_VM", 0, bench.base, struct, root, 1, 0);
    bench.forge(shared, { references: 65_535 });
    lab.spoil();
    bench.expectRefused(EBUSY, "INIT_VM", 0, shared, struct, root, 1, 0);
  });

  it("refuses pages that are not the host's to give, and undoes what it took: -ENOMEM", () => {
    const { bench } = lab;
    const { shared, struct, root } = parts(bench);
    const lent = bench.fresh(2);
    expect(bench.call("SHARE_FFA", lent, 1)).toBe(0);
    const { end = 0 } = bench.pair.state.memory.regions[0] ?? {};
    for (const bad of [lent, 0, shared, end, ...HUGE]) {
      bench.expectRefused(ENOMEM, "INIT_VM", 0, shared, bad, root, 1, 0);
      bench.expectRefused(ENOMEM, "INIT_VM", 0, shared, struct, bad, 1, 0);
    }
    for (const table of [lent - 1, end - 1, struct, struct - 1])
      // its second page, or the struct itself
      bench.expectRefused(ENOMEM, "INIT_VM", 0, shared, struct, table, 1, 0);
  });

  it("gives out handles from the lowest on: 255 of them, then -ENOMEM", () => {
    const { bench } = lab;
    for (let index = 0; index < MAX_VMS; index++)
      expect(bench.raw("RESERVE_VM")).toBe(FIRST + index);
    const { shared, struct, root } = {
      shared: bench.base,
      struct: bench.base + 1,
      root: bench.base + 2,
    };
    expect(bench.raw("SHARE_HYP", shared)).toBe(0);
    expect(bench.raw("RESERVE_VM")).toBe(-ENOMEM);
    expect(bench.raw("INIT_VM", 0, shared, struct, root, 1, 0)).toBe(-ENOMEM);
    expect(bench.raw("UNRESERVE_VM", FIRST + 100)).toBe(0);
    expect(bench.raw("INIT_VM", 0, shared, struct, root, 1, 0)).toBe(FIRST + 100);
    expect(bench.raw("TEARDOWN_VM", FIRST + 100)).toBe(0);
    lab.spoil();
  });

  it("[17] a promised handle is for one VM, and for nobody else", () => {
    const { bench } = lab;
    const handle = bench.call("RESERVE_VM");
    expect(handle).toBe(FIRST);
    expect(bench.vm().handle).toBe(FIRST + 1);
    const { shared, root } = parts(bench);
    for (const name of ["INIT_VCPU", "TEARDOWN_VM"] as const)
      bench.expectRefused(ENOENT, name, handle, bench.base);
    bench.expectRefused(EINVAL, "VCPU_LOAD", handle, 0);
    expect(bench.call("INIT_VM", handle, shared, bench.base, root, 1, 0)).toBe(handle);
    bench.expectRefused(EINVAL, "UNRESERVE_VM", handle);
    expect(bench.call("TEARDOWN_VM", handle)).toBe(0);
    bench.expectRefused(EINVAL, "UNRESERVE_VM", handle);
  });

  it("a refusal leaves the promise", () => {
    const { bench } = lab;
    const handle = bench.call("RESERVE_VM");
    const { shared, struct, root } = parts(bench);
    expect(bench.call("INIT_VM", handle, shared, 0, root, 1, 0)).toBe(-ENOMEM);
    expect(bench.call("INIT_VM", handle, shared, struct, root, 1, 0)).toBe(handle);
  });
});

describe.each(GENERATIONS)("tearing a VM down (%s)", (generation) => {
  const lab = benches(generation);

  it("refuses a handle of none: -ENOENT; a VM in use: -EBUSY", () => {
    const { bench } = lab;
    const { handle } = bench.loadedVm();
    for (const other of [0, FIRST - 1, handle + 1, FIRST + MAX_VMS, ...HUGE])
      bench.expectRefused(ENOENT, "TEARDOWN_VM", other);
    bench.expectRefused(EBUSY, "TEARDOWN_VM", handle);
    expect(bench.call("VCPU_PUT")).toBe(0);
    expect(bench.call("TEARDOWN_VM", handle)).toBe(0);
    bench.expectRefused(ENOENT, "TEARDOWN_VM", handle);
  });

  it("P-7.1: every page is as it was, and every count", () => {
    const { bench } = lab;
    const before = bench.snapshot();
    const [first, second] = [bench.on(0).loadedVm(), bench.on(1).loadedVm(false, 2)];
    for (const [cpu, { handle }] of [first, second].entries()) {
      bench.on(cpu);
      expect(bench.callWith(bench.pages(9), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(0);
      expect(bench.call("SHARE_GUEST", bench.base, 600, 1, RWX)).toBe(0);
      expect(bench.call("SHARE_GUEST", bench.base + 1, 2 ** 20, 1, RWX)).toBe(0);
      expect(bench.pair.machine.vm(handle)).toMatchObject({ references: 1 });
    }
    expect(bench.record(bench.base).guests).toBe(4);
    for (const [cpu, { handle, shared }] of [first, second].entries()) {
      expect(bench.on(cpu).call("VCPU_PUT")).toBe(0);
      expect(bench.call("TEARDOWN_VM", handle)).toBe(0);
      expect(bench.record(bench.base).guests).toBe(cpu === 0 ? 2 : 0);
      expect(bench.call("UNSHARE_HYP", shared)).toBe(0);
    }
    expect(meaning(bench.snapshot())).toEqual(meaning(before));
  });

  it("P-7.1: pages of the host's list go back to it", () => {
    const { bench } = lab;
    const left = bench.pair.machine.hostPagesLeft();
    const taken = Array.from({ length: 4 }, () => bench.pair.takeHostPage());
    const { shared } = parts(bench);
    const [struct, , root] = [taken[0], taken[1], bench.fresh(2)] as [number, number, number];
    const handle = bench.call("INIT_VM", 0, shared, struct, root, 1, 0);
    expect(bench.pair.machine.hostPagesLeft()).toBe(left - 4);
    expect(bench.call("TEARDOWN_VM", handle)).toBe(0);
    expect(bench.pair.machine.hostPagesLeft()).toBe(left - 3);
    for (const pfn of taken.slice(1)) bench.pair.giveHostPage(pfn);
    expect(bench.pair.machine.hostPagesLeft()).toBe(left);
    bench.pair.giveHostPage(bench.base); // not of that memory
    bench.pair.giveHostPage(taken[2] as number); // a second time
    expect(bench.pair.machine.hostPagesLeft()).toBe(left);
  });

  it("P-7.2: after the end every call by the old handle is refused or does nothing", () => {
    const { bench } = lab;
    const { handle } = bench.vm();
    expect(bench.call("TEARDOWN_VM", handle)).toBe(0);
    for (const name of ["UNSHARE_GUEST", "WRPROTECT_GUEST", "TEST_CLEAR_YOUNG_GUEST"] as const)
      bench.expectRefused(EINVAL, name, handle, 0, 1);
    bench.expectRefused(EINVAL, "VCPU_LOAD", handle, 0);
    bench.expectRefused(ENOENT, "INIT_VCPU", handle, bench.base);
    expect(bench.call("TLB_FLUSH_VMID", handle)).toBe(0);
  });
});

/** Counts of pages that nobody has lent mean nothing. */
function meaning([records, ...rest]: unknown[]): unknown[] {
  const words = records as number[];
  const isLent = (at: number): boolean => (((words[at] as number) >>> 16) & 0xff) === 1;
  return [words.filter((_, at) => at % 2 === 0 || isLent(at - 1)), ...rest];
}
