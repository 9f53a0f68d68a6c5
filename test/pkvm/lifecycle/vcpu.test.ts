/** vCPUs of the hypervisor: made, loaded on one CPU at a time, put; and guests that are ending. */
import { describe, expect, it } from "vitest";
import { benches } from "../../ghost/bench.ts";
import { EBUSY, EINVAL, ENOENT, EPERM } from "../../ghost/model/words.ts";
import { GENERATIONS } from "../../ghost/world.ts";

const HUGE = [2n ** 32n, 2n ** 32n + 0x1000n, 2n ** 64n - 1n];

describe.each(GENERATIONS)("vCPUs (%s)", (generation) => {
  const lab = benches(generation);

  it("are numbered in order, and no more than were asked for: -EINVAL", () => {
    const { bench } = lab;
    const { handle } = bench.vm(false, 3);
    expect(bench.pair.machine.vm(handle)).toMatchObject({ created: 3, made: 3 });
    bench.expectRefused(EINVAL, "INIT_VCPU", handle, bench.base);
  });

  it("need a VM (-ENOENT) and a page that is the host's (-EPERM, -EINVAL)", () => {
    const { bench } = lab;
    const shared = bench.fresh();
    expect(bench.call("SHARE_HYP", shared)).toBe(0);
    const [struct, root] = [bench.fresh(), bench.fresh(2)];
    const handle = bench.call("INIT_VM", 0, shared, struct, root, 2, 0);
    for (const other of [0, handle - 1, handle + 1, handle + 254, ...HUGE])
      bench.expectRefused(ENOENT, "INIT_VCPU", other, bench.base);
    for (const pfn of [0, shared, struct, bench.pair.state.memory.regions[0]?.end ?? 0])
      bench.expectRefused(EPERM, "INIT_VCPU", handle, pfn);
    for (const pfn of [2 ** 28, ...HUGE]) bench.expectRefused(EINVAL, "INIT_VCPU", handle, pfn);
    expect(bench.call("INIT_VCPU", handle, bench.base)).toBe(0);
    bench.expectRefused(EPERM, "INIT_VCPU", handle, bench.base);
  });

  it("load takes a reference, put gives it back", () => {
    const { bench } = lab;
    const { handle } = bench.vm();
    bench.expectRefused(EINVAL, "VCPU_PUT");
    expect(bench.call("VCPU_LOAD", handle, 0)).toBe(0);
    expect(bench.pair.machine.loaded(0)).toEqual({ handle, index: 0 });
    expect(bench.pair.machine.vm(handle)).toMatchObject({ references: 1 });
    bench.expectRefused(EBUSY, "TEARDOWN_VM", handle);
    expect(bench.call("VCPU_PUT")).toBe(0);
    expect(bench.pair.machine.vm(handle)).toMatchObject({ references: 0 });
    bench.expectRefused(EINVAL, "VCPU_PUT");
  });

  it("load refuses what is not there: -EINVAL", () => {
    const { bench } = lab;
    const { handle } = bench.vm(false, 2);
    for (const other of [0, handle - 1, handle + 1, ...HUGE])
      bench.expectRefused(EINVAL, "VCPU_LOAD", other, 0);
    for (const index of [2, 512, ...HUGE]) bench.expectRefused(EINVAL, "VCPU_LOAD", handle, index);
  });

  it("are on one CPU at a time, and a CPU has one at a time: -EINVAL", () => {
    const { bench } = lab;
    const { handle } = bench.loadedVm(false, 2);
    bench.expectRefused(EINVAL, "VCPU_LOAD", handle, 1); // this CPU has one
    bench.on(1).expectRefused(EINVAL, "VCPU_LOAD", handle, 0); // it is elsewhere
    expect(bench.call("VCPU_LOAD", handle, 1)).toBe(0);
    expect(bench.pair.machine.vm(handle)).toMatchObject({ references: 2 });
    expect(bench.on(0).call("VCPU_PUT")).toBe(0);
    bench.expectRefused(EBUSY, "TEARDOWN_VM", handle);
    expect(bench.on(1).call("VCPU_PUT")).toBe(0);
    expect(bench.call("VCPU_LOAD", handle, 0)).toBe(0);
  });
});

describe("a guest that is ending [newest]", () => {
  const lab = benches("newest");

  it("start_teardown refuses as teardown does, and may come twice", () => {
    const { bench } = lab;
    const { handle } = bench.loadedVm();
    for (const other of [0, handle + 1, ...HUGE])
      bench.expectRefused(ENOENT, "START_TEARDOWN", other);
    bench.expectRefused(EBUSY, "START_TEARDOWN", handle);
    expect(bench.call("VCPU_PUT")).toBe(0);
    expect(bench.call("START_TEARDOWN", handle)).toBe(0);
    expect(bench.call("START_TEARDOWN", handle)).toBe(0);
    expect(bench.pair.machine.vm(handle)).toMatchObject({ flags: 2 });
    expect(bench.call("TEARDOWN_VM", handle)).toBe(0);
  });

  it("runs no more, and grows no more: -EINVAL; what it borrowed goes back one by one", () => {
    const { bench } = lab;
    const shared = bench.fresh();
    expect(bench.call("SHARE_HYP", shared)).toBe(0);
    const handle = bench.call("INIT_VM", 0, shared, bench.fresh(), bench.fresh(2), 2, 0);
    expect(bench.call("INIT_VCPU", handle, bench.fresh())).toBe(0);
    expect(bench.call("VCPU_LOAD", handle, 0)).toBe(0);
    expect(bench.callWith(bench.pages(3), "SHARE_GUEST", bench.base, 0, 1, 7)).toBe(0);
    expect(bench.call("VCPU_PUT")).toBe(0);
    expect(bench.call("START_TEARDOWN", handle)).toBe(0);
    bench.expectRefused(EINVAL, "VCPU_LOAD", handle, 0);
    bench.expectRefused(EINVAL, "INIT_VCPU", handle, bench.base + 1);
    expect(bench.call("UNSHARE_GUEST", handle, 0, 1)).toBe(0);
    expect(bench.record(bench.base)).toMatchObject({ host: "OWNED", guests: 0 });
    expect(bench.call("TEARDOWN_VM", handle)).toBe(0);
  });
});
