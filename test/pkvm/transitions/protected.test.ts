/** Guests that own pages: each row of the table, and each precondition failing alone. */
import { describe, expect, it } from "vitest";
import { NOT_SUPPORTED } from "../../../src/pkvm/_abi.ts";
import { type Bench, type VmParts, benches } from "../../ghost/bench.ts";
import { EHWPOISON, EINVAL, ENOENT, ENOMEM, EPERM, ERANGE } from "../../ghost/model/words.ts";
import { GFN, withPage } from "./page.ts";

const GUEST_PAGES = 2 ** 28;
const HUGE = [2n ** 52n, 2n ** 52n + 5n, 2n ** 64n - 1n];

describe("generations without guests that own pages", () => {
  const lab = benches("default");

  it("P-3.1: do not know their calls, nor numbers that nobody knows", () => {
    const { bench } = lab;
    bench.loadedVm();
    for (const name of [
      "DONATE_GUEST",
      "FORCE_RECLAIM",
      "GUEST_SHARE_HOST",
      "GUEST_UNSHARE_HOST",
      "START_TEARDOWN",
      "RECLAIM_DYING_PAGE",
      "RECLAIM_PAGE",
    ] as const)
      expect(bench.call(name, bench.base, 0), name).toBe(NOT_SUPPORTED);
    for (const number of [0, 25, 39, 42, 63, 81, 255, 2 ** 31 - 1, -1])
      expect(bench.pair.machine.call(0, number, []), `${number}`).toBe(NOT_SUPPORTED);
    const [shared, struct, root] = [bench.fresh(), bench.fresh(), bench.fresh(2)];
    expect(bench.call("SHARE_HYP", shared)).toBe(0);
    expect(bench.call("INIT_VM", 0, shared, struct, root, 1, 1)).toBe(-EINVAL);
  });
});

describe("donate_guest", () => {
  const lab = benches("newest");

  it("gives the page for good: nobody else has it", () => {
    const { bench } = lab;
    const { handle } = withPage(bench);
    expect(bench.record(bench.base)).toMatchObject({ host: "NOPAGE", hyp: "NOPAGE" });
    expect(bench.leaf(handle, GFN)).toMatchObject({ pfn: bench.base, prot: 7, young: true });
    expect(bench.call("HOST_ABORT", bench.base * 4096)).toBe(-EPERM);
  });

  it("needs a loaded vCPU of a guest that owns: -EINVAL", () => {
    const { bench } = lab;
    bench.vm(true);
    bench.expectRefused(EINVAL, "DONATE_GUEST", bench.base, GFN);
    bench.loadedVm();
    bench.expectRefused(EINVAL, "DONATE_GUEST", bench.base, GFN);
  });

  it("refuses what is no page of memory, and guest pages that are none", () => {
    const { bench } = lab;
    withPage(bench);
    const [low, , nobodys] = bench.pair.state.memory.regions;
    for (const pfn of [0, low?.end ?? 0, nobodys?.first ?? 0])
      bench.expectRefused(EPERM, "DONATE_GUEST", pfn, 1);
    for (const pfn of [GUEST_PAGES, ...HUGE]) bench.expectRefused(EINVAL, "DONATE_GUEST", pfn, 1);
    for (const gfn of [GUEST_PAGES, ...HUGE])
      bench.expectRefused(ERANGE, "DONATE_GUEST", bench.base + 1, gfn);
  });

  it.each([{ host: "SHARED_OWNED" }, { host: "SHARED_BORROWED" }, { host: "NOPAGE" }] as const)(
    "refuses a page that is %j for the host: -EPERM",
    (fields) => {
      const { bench } = lab;
      withPage(bench);
      bench.forge(bench.base + 1, fields);
      lab.spoil();
      bench.expectRefused(EPERM, "DONATE_GUEST", bench.base + 1, GFN + 1);
    },
  );

  it("refuses a guest page that maps something, or was taken by force: -EPERM", () => {
    const { bench } = lab;
    withPage(bench);
    bench.expectRefused(EPERM, "DONATE_GUEST", bench.base + 1, GFN);
    expect(bench.call("FORCE_RECLAIM", bench.base)).toBe(0);
    bench.expectRefused(EPERM, "DONATE_GUEST", bench.base + 1, GFN);
  });

  it("needs as many pages in the memcache as there are levels below the root: -ENOMEM", () => {
    const { bench } = lab;
    bench.loadedVm(true);
    bench.expectRefused(ENOMEM, "DONATE_GUEST", bench.base, GFN);
    expect(bench.callWith(bench.pages(1), "DONATE_GUEST", bench.base, GFN)).toBe(-ENOMEM);
    expect(bench.callWith(bench.pages(2), "DONATE_GUEST", bench.base, GFN)).toBe(0);
    bench.expectRefused(ENOMEM, "DONATE_GUEST", bench.base + 1, GFN + 1); // though it needs none
  });
});

describe.each([
  ["GUEST_SHARE_HOST", [], { guest: "SHARED_OWNED", host: "SHARED_BORROWED" }],
  ["GUEST_UNSHARE_HOST", ["GUEST_SHARE_HOST"], { guest: "OWNED", host: "NOPAGE" }],
] as const)("%s", (name, before, after) => {
  const lab = benches("newest");

  function prepare(bench: Bench): VmParts {
    const vm = withPage(bench);
    for (const call of before) expect(bench.call(call, GFN)).toBe(0);
    return vm;
  }

  it("changes both sides, and what the host maps", () => {
    const { bench } = lab;
    const { handle } = prepare(bench);
    expect(bench.call(name, GFN)).toBe(0);
    expect(bench.guest(handle, GFN)).toBe(after.guest);
    expect(bench.record(bench.base).host).toBe(after.host);
    expect(bench.isInHost(bench.base)).toBe(after.host === "SHARED_BORROWED");
  });

  it("needs a loaded vCPU of a guest that owns: -EINVAL", () => {
    const { bench } = lab;
    prepare(bench);
    bench.on(1).expectRefused(EINVAL, name, GFN);
    bench.loadedVm();
    bench.expectRefused(EINVAL, name, GFN);
  });

  it("refuses a guest page that is none (-ERANGE), maps nothing (-ENOENT), was taken (-EHWPOISON)", () => {
    const { bench } = lab;
    prepare(bench);
    for (const gfn of [GUEST_PAGES, ...HUGE]) bench.expectRefused(ERANGE, name, gfn);
    bench.expectRefused(ENOENT, name, GFN + 1);
    expect(bench.call("DONATE_GUEST", bench.base + 1, GFN + 1)).toBe(0);
    expect(bench.call("FORCE_RECLAIM", bench.base + 1)).toBe(0);
    bench.expectRefused(EHWPOISON, name, GFN + 1);
  });

  it("refuses a state of the guest's that is another: -EPERM", () => {
    const { bench } = lab;
    const { handle } = prepare(bench);
    const right = bench.guest(handle, GFN);
    lab.spoil();
    for (const state of ["OWNED", "SHARED_OWNED", "SHARED_BORROWED"] as const) {
      if (state === right) continue;
      bench.forgeGuest(handle, GFN, state);
      bench.expectRefused(EPERM, name, GFN);
    }
  });

  it("refuses a state of the host's that is another: -EPERM", () => {
    const { bench } = lab;
    prepare(bench);
    const right = bench.record(bench.base).host;
    lab.spoil();
    for (const host of ["OWNED", "SHARED_OWNED", "SHARED_BORROWED", "NOPAGE"] as const) {
      if (host === right) continue;
      bench.forge(bench.base, { host });
      bench.expectRefused(EPERM, name, GFN);
    }
  });
});
