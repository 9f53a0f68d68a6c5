/** Pages lent to guests and taken back: each precondition of the two rows failing alone. */
import { describe, expect, it } from "vitest";
import { benches } from "../../ghost/bench.ts";
import { EBUSY, EINVAL, ENOENT, ENOMEM, EPERM, ERANGE } from "../../ghost/model/words.ts";
import { GENERATIONS } from "../../ghost/world.ts";
import { withLeaf } from "./leaf.ts";

const RWX = 7;
const R = 4;
const BLOCK = 512;
const GUEST_PAGES = 2 ** 28; // 40 bits of 4K pages
const HUGE = [2n ** 52n, 2n ** 52n + 5n, 2n ** 64n - 1n];

describe.each(GENERATIONS)("share_guest (%s)", (generation) => {
  const lab = benches(generation);

  it("maps the page, young and with these rights, and counts it", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench, 3);
    expect(bench.record(bench.base)).toMatchObject({ host: "SHARED_OWNED", guests: 1 });
    expect(bench.guest(handle, 3)).toBe("SHARED_BORROWED");
    for (let prot = 0; prot <= RWX; prot++)
      expect(bench.call("SHARE_GUEST", bench.base + prot, 16 + prot, 1, prot)).toBe(0); // compared with the model
  });

  it("needs a loaded vCPU of a guest that borrows: -EINVAL", () => {
    const { bench } = lab;
    bench.vm();
    bench.expectRefused(EINVAL, "SHARE_GUEST", bench.base, 0, 1, RWX);
    if (generation !== "newest") return;
    bench.loadedVm(true);
    bench.expectRefused(EINVAL, "SHARE_GUEST", bench.base, 0, 1, RWX);
  });

  it("refuses rights that are none, before anything else of the row: -EINVAL", () => {
    const { bench } = lab;
    withLeaf(bench);
    for (const prot of [8, 16, 32, 2n ** 32n + 7n, 2n ** 63n + 7n])
      bench.expectRefused(EINVAL, "SHARE_GUEST", 0, 1, 1, prot);
  });

  it("refuses pages beyond the address space: -EINVAL", () => {
    const { bench } = lab;
    withLeaf(bench);
    for (const pfn of [GUEST_PAGES, ...HUGE])
      bench.expectRefused(EINVAL, "SHARE_GUEST", pfn, 1, 1, RWX);
  });

  it("refuses counts that are no size: -EINVAL", () => {
    const { bench } = lab;
    withLeaf(bench);
    const first = Math.ceil(bench.base / BLOCK) * BLOCK;
    for (const count of [0, 2, 511, 513, 1024, ...HUGE])
      bench.expectRefused(EINVAL, "SHARE_GUEST", first, BLOCK, count, RWX);
    bench.expectRefused(EINVAL, "SHARE_GUEST", first + 1, BLOCK, BLOCK, RWX);
    bench.expectRefused(EINVAL, "SHARE_GUEST", first, BLOCK + 1, BLOCK, RWX);
    if (generation === "seed") bench.expectRefused(EINVAL, "SHARE_GUEST", first, BLOCK, BLOCK, RWX);
  });

  it("refuses what is not memory, and what is nobody's: -EPERM", () => {
    const { bench } = lab;
    withLeaf(bench);
    const [low, , nobodys] = bench.pair.state.memory.regions;
    for (const pfn of [0, low?.end ?? 0, nobodys?.first ?? 0])
      bench.expectRefused(EPERM, "SHARE_GUEST", pfn, 1, 1, RWX);
  });

  it("refuses guest pages beyond the guest's address space: -ERANGE", () => {
    const { bench } = lab;
    withLeaf(bench);
    for (const gfn of [GUEST_PAGES, ...HUGE])
      bench.expectRefused(ERANGE, "SHARE_GUEST", bench.base + 1, gfn, 1, RWX);
    expect(bench.call("SHARE_GUEST", bench.base + 1, GUEST_PAGES - 1, 1, RWX)).toBe(0);
  });

  it("refuses a guest page that maps something: -EPERM", () => {
    const { bench } = lab;
    withLeaf(bench, 5);
    bench.expectRefused(EPERM, "SHARE_GUEST", bench.base + 1, 5, 1, RWX);
    bench.expectRefused(EPERM, "SHARE_GUEST", bench.base, 5, 1, RWX);
  });

  it.each([
    { host: "SHARED_OWNED", guests: 0 }, // lent to others than guests
    { host: "SHARED_BORROWED" },
    { host: "NOPAGE" },
  ] as const)("refuses a page that is %j for the host: -EPERM", (fields) => {
    const { bench } = lab;
    withLeaf(bench);
    bench.forge(bench.base + 1, fields);
    lab.spoil();
    bench.expectRefused(EPERM, "SHARE_GUEST", bench.base + 1, 1, 1, RWX);
  });

  it("refuses a page that is mapped 2^32 - 1 times: -EBUSY", () => {
    const { bench } = lab;
    withLeaf(bench);
    bench.forge(bench.base, { guests: 2 ** 32 - 1 });
    lab.spoil();
    bench.expectRefused(EBUSY, "SHARE_GUEST", bench.base, 1, 1, RWX);
    bench.forge(bench.base, { guests: 2 ** 32 - 2 });
    expect(bench.raw("SHARE_GUEST", bench.base, 1, 1, RWX)).toBe(0);
    expect(bench.record(bench.base).guests).toBe(2 ** 32 - 1);
  });

  it("needs pages for the tables that are missing: -ENOMEM, and the rest goes by", () => {
    const { bench } = lab;
    bench.loadedVm();
    bench.expectRefused(ENOMEM, "SHARE_GUEST", bench.base, 0, 1, RWX);
    expect(bench.callWith(bench.pages(1), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(-ENOMEM);
    expect(bench.callWith(bench.pages(2), "SHARE_GUEST", bench.base, 0, 1, RWX)).toBe(0);
    expect(bench.call("SHARE_GUEST", bench.base + 1, 1, 1, RWX)).toBe(0); // the same tables
    bench.expectRefused(ENOMEM, "SHARE_GUEST", bench.base + 2, BLOCK, 1, RWX);
  });

  it("P-5.2: maps a page at several guest pages, and in several guests", () => {
    const { bench } = lab;
    const first = withLeaf(bench, 0);
    expect(bench.call("SHARE_GUEST", bench.base, 1, 1, R)).toBe(0);
    bench.on(1);
    const second = withLeaf(bench, 0);
    expect(bench.record(bench.base)).toMatchObject({ host: "SHARED_OWNED", guests: 3 });
    expect(bench.call("UNSHARE_GUEST", first.handle, 0, 1)).toBe(0);
    expect(bench.call("UNSHARE_GUEST", second.handle, 0, 1)).toBe(0);
    expect(bench.record(bench.base)).toMatchObject({ host: "SHARED_OWNED", guests: 1 });
    expect(bench.call("UNSHARE_GUEST", first.handle, 1, 1)).toBe(0);
    expect(bench.record(bench.base)).toMatchObject({ host: "OWNED", guests: 0 });
  });
});

describe.each(GENERATIONS)("unshare_guest (%s)", (generation) => {
  const lab = benches(generation);

  it("refuses a handle of no guest that borrows: -EINVAL", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    const reserved = bench.call("RESERVE_VM");
    const handles = [
      0,
      0xfff,
      handle + 1,
      reserved,
      0x1000 + 255,
      BigInt(handle) + 2n ** 32n,
      ...HUGE,
    ];
    for (const name of ["UNSHARE_GUEST", "WRPROTECT_GUEST", "TEST_CLEAR_YOUNG_GUEST"] as const) {
      for (const other of handles) bench.expectRefused(EINVAL, name, other, 0, 1);
      if (generation !== "newest") continue;
      const owner = bench.vm(true);
      bench.expectRefused(EINVAL, name, owner.handle, 0, 1);
    }
  });

  it("refuses counts that are no size, and gfns beyond the guest's", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    for (const name of ["UNSHARE_GUEST", "WRPROTECT_GUEST", "TEST_CLEAR_YOUNG_GUEST"] as const) {
      for (const count of [0, 2, 511, 1024, ...HUGE])
        bench.expectRefused(EINVAL, name, handle, 0, count);
      bench.expectRefused(EINVAL, name, handle, 1, BLOCK);
      for (const gfn of [GUEST_PAGES, ...HUGE]) bench.expectRefused(ERANGE, name, handle, gfn, 1);
    }
  });

  it("refuses where nothing is mapped: -ENOENT", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    bench.expectRefused(ENOENT, "UNSHARE_GUEST", handle, 1, 1);
    bench.expectRefused(ENOENT, "UNSHARE_GUEST", handle, GUEST_PAGES - 1, 1);
  });

  it("refuses a leaf that the guest did not borrow: -EPERM", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    lab.spoil();
    for (const state of ["OWNED", "SHARED_OWNED"] as const) {
      bench.forgeGuest(handle, 0, state);
      bench.expectRefused(EPERM, "UNSHARE_GUEST", handle, 0, 1);
    }
  });

  it.each(["OWNED", "SHARED_BORROWED", "NOPAGE"] as const)(
    "refuses a page that the host has not lent (%s): -EPERM",
    (host) => {
      const { bench } = lab;
      const { handle } = withLeaf(bench);
      bench.forge(bench.base, { host, guests: 1 });
      lab.spoil();
      bench.expectRefused(EPERM, "UNSHARE_GUEST", handle, 0, 1);
    },
  );

  it("refuses a page that is counted nowhere: -EINVAL", () => {
    const { bench } = lab;
    const { handle } = withLeaf(bench);
    bench.forge(bench.base, { guests: 0 });
    lab.spoil();
    bench.expectRefused(EINVAL, "UNSHARE_GUEST", handle, 0, 1);
  });
});
